"""h11_backend.py PORT: reads requests with h11, says of each the client's address, method and target on a line, and answers 200."""

import socketserver
import sys

import h11


class Connection(socketserver.BaseRequestHandler):
    def handle(self):
        connection = h11.Connection(h11.SERVER)
        try:
            while self.answer(connection):
                connection.start_next_cycle()
        except (h11.RemoteProtocolError, OSError):
            # Of a message without an end nothing more is to be said.
            pass

    def answer(self, connection):
        """Whether another request may follow."""
        event = self.next_event(connection)
        while type(event) is not h11.EndOfMessage:
            if type(event) is h11.ConnectionClosed:
                return False
            if type(event) is h11.Request:
                say(event)
            event = self.next_event(connection)
        answer = h11.Response(status_code=200, headers=[("content-length", "0")])
        self.request.sendall(connection.send(answer) + connection.send(h11.EndOfMessage()))
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    def next_event(self, connection):
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(self.request.recv(1 << 16))
        return event


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def say(request):
    sources = [value for name, value in request.headers if name == b"x-forwarded-for"]
    words = [b",".join(sources) or b"-", request.method, request.target]
    # In one piece, because other connections say theirs.
    sys.stdout.write(b" ".join(words).decode("latin-1") + "\n")
    sys.stdout.flush()


Server(("127.0.0.1", int(sys.argv[1])), Connection).serve_forever()
