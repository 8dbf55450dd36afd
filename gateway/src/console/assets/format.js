// Numbers, times and JSON as people read them.

export const number = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits });

export const rate = (value) => number(value, value < 10 ? 1 : 0);

export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

export const percent = (part, whole) => (whole > 0 ? `${number((100 * part) / whole, 1)} %` : "–");

export function duration(ms) {
  if (ms < 1000) return `${number(ms, ms < 10 ? 1 : 0)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${number(seconds, 1)} s`;
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  let left = Math.round(seconds);
  const said = [];
  for (const [unit, size] of parts) {
    const whole = Math.floor(left / size);
    left -= whole * size;
    if (whole > 0 && said.length < 2) said.push(`${whole} ${unit}`);
  }
  return said.join(" ");
}

export function time(text) {
  const date = new Date(text);
  const clock = date.toLocaleTimeString("en-GB", { hour12: false });
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? clock : `${date.toLocaleDateString("en-CA")} ${clock}`;
}

export const words = (name) => name.replaceAll("_", " ");

// JSON with line breaks and indents, and otherwise as it is: parsing and writing it again would change large numbers.
export function pretty(json) {
  const tokens = json.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  let text = "";
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  tokens.forEach((token, index) => {
    const isEmpty = (token === "{" || token === "[") && (tokens[index + 1] === "}" || tokens[index + 1] === "]");
    const closesEmpty = (token === "}" || token === "]") && (tokens[index - 1] === "{" || tokens[index - 1] === "[");
    if (token === "{" || token === "[") {
      depth += 1;
      text += isEmpty ? token : token + line();
    } else if (token === "}" || token === "]") {
      depth -= 1;
      text += closesEmpty ? token : line() + token;
    } else if (token === ",") {
      text += token + line();
    } else {
      text += token === ":" ? ": " : token;
    }
  });
  return text;
}
