"""http2_client.py PORT CASE: what a client that speaks HTTP/2 by the library h2 does to a balancer.

serves: many requests with bodies side by side; ends well if all are answered 200.
resets, pings, settings, windows: a flood of them; ends well if the connection is ended, or all of it was taken without an answer too many.
"""

import socket
import sys

import h2.config
import h2.connection
import h2.events
import h2.exceptions

FLOOD = 20_000
STREAMS = 60
BODY = b"x" * 100_000


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.h2 = h2.connection.H2Connection(config=h2.config.H2Configuration())
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def events(self):
        """What comes next; None at the end of the connection."""
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            return None
        return self.h2.receive_data(data) if data else None

    def ask(self, method, ends=True):
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", "/data")]
        self.h2.send_headers(stream, fields, end_stream=ends)
        return stream


def serves(connection):
    left = {connection.ask("POST", ends=False): BODY for _ in range(STREAMS)}
    statuses, open_streams = {}, set(left)
    while open_streams:
        for stream in list(left):
            window = min(connection.h2.local_flow_control_window(stream), connection.h2.max_outbound_frame_size)
            piece, left[stream] = left[stream][:window], left[stream][window:]
            if piece:
                connection.h2.send_data(stream, piece)
            if not left[stream]:
                connection.h2.end_stream(stream)
                del left[stream]
        connection.flush()
        events = connection.events()
        if events is None:
            return f"the connection ended with {len(open_streams)} unanswered"
        for event in events:
            if isinstance(event, h2.events.ResponseReceived):
                statuses[event.stream_id] = dict(event.headers)[b":status"]
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                open_streams.discard(event.stream_id)
    wrong = [status for status in statuses.values() if status != b"200"]
    return f"{len(wrong)} of {len(statuses)} are {set(wrong)}" if wrong or len(statuses) != STREAMS else ""


def floods(connection, send):
    """Until the connection ends, which is what a flood of resets must lead to; what costs nobody anything may be taken."""
    try:
        for _ in range(FLOOD):
            send()
            connection.flush()
    except (ConnectionResetError, BrokenPipeError, TimeoutError):
        return True
    connection.socket.settimeout(2)
    try:
        while (events := connection.events()) is not None:
            if any(isinstance(event, h2.events.ConnectionTerminated) for event in events):
                return True
    except TimeoutError:
        return False
    return True


def resets(connection):
    def send():
        connection.h2.reset_stream(connection.ask("GET"), error_code=8)

    return "" if floods(connection, send) else "the connection goes on"


def taken(kind):
    def flood(connection):
        send = {
            "pings": lambda: connection.h2.ping(b"01234567"),
            "settings": lambda: connection.h2.update_settings({}),
            "windows": lambda: connection.h2.increment_flow_control_window(1),
        }[kind]
        floods(connection, send)
        return ""

    return flood


CASES = {"serves": serves, "resets": resets} | {kind: taken(kind) for kind in ("pings", "settings", "windows")}

if __name__ == "__main__":
    sys.exit(CASES[sys.argv[2]](Connection(int(sys.argv[1]))) or None)
