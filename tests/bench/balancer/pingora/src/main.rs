//! `pingora-balancer LISTEN on|off BACKEND...`: on writes a line for each request to the standard output.

mod proxy;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    match arguments.as_slice() {
        [listen, log, addresses @ ..] => proxy::run(listen, log == "on", addresses),
        _ => Err(std::io::Error::other("pingora-balancer LISTEN on|off BACKEND...")),
    }
}
