"""One HTTP/1 connection under uvicorn, with what the protocol demands and uvicorn lacks. Knows no limits.

The head is checked, an offer to speak another protocol is ignored (RFC 9110, section 7.8), a client that has only
stopped sending gets its answers, and one that was refused before it sent its body is not read any further.
"""

from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service import head
from service.problems import Problem


class Http1Connection(HttpToolsProtocol):
    """A connection of uvicorn's on which no body is taken for a request, and no request is lost."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own, passed on as they are
        super().__init__(*arguments, **options)
        # Of uvicorn's parser: where in a request it is.
        self._in_message = False
        self._in_head = False
        self._running: RequestResponseCycle | None = None
        self._refusal: Problem | None = None
        self._sent_all = False

    # What the parser finds

    def data_received(self, data: bytes) -> None:
        """Read what came; what cannot be read is refused."""
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except HttpParserError as error:
            self.send_400_response(str(error))

    def _feed(self, data: bytes) -> None:
        """Let the parser read; where it stops at an offer of another protocol, one that sees no offer goes on.

        The first would take what follows that head for the other protocol, or for the next request.
        """
        rest = memoryview(data)
        while rest:
            try:
                self.parser.feed_data(rest)
            except HttpParserUpgrade as stopped:
                rest = rest[stopped.args[0] :]
                self._read_again()
            else:
                return

    def _read_again(self) -> None:
        """Begin once more with the head that has just been read, all of it but the offer as the client sent it."""
        method, version, target = self.parser.get_method(), self.parser.get_http_version(), self.url
        again = head.without_offer(method, version, target, self.headers)
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does: it is passed over
        self.parser.feed_data(again)

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self._in_message = self._in_head = True

    def on_headers_complete(self) -> None:
        """Refuse a head, or let uvicorn go on with it."""
        try:
            self._check_head()
        except Problem as problem:
            self._refusal = problem
            raise
        if not self.parser.should_upgrade():  # else the same head comes again, without its offer
            self._take_head()

    def _check_head(self) -> None:
        version = self.parser.get_http_version()
        head.check(self.parser.get_method(), version, self.url, self.headers)
        self.expect_100_continue = self.expect_100_continue and version != "1.0" and head.has_body(self.headers)

    def _take_head(self) -> None:
        """Go on with a good head: what is called below is about the request's body."""
        self._in_head = False
        super().on_headers_complete()
        self.headers = []  # what follows a chunked body is no header of this request

    def on_message_complete(self) -> None:
        """Note that a request has arrived."""
        if self.parser.should_upgrade():
            return
        self._in_message = False
        super().on_message_complete()
        if not self.parser.should_keep_alive():
            self._expect_no_more()

    def _expect_no_more(self) -> None:
        """Close after this request's answer: the parser reads nothing behind it, also where only a trailer says so."""
        self.cycle.keep_alive = False
        if self.cycle.response_complete:
            self.transport.close()

    # The answers, and the end

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 - uvicorn's own
        self._running = cycle
        if cycle.waiting_for_100_continue:
            app = _closing(app, cycle)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on with the next request, or close."""
        super().on_response_complete()
        self._close_if_done()

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn has no use for an answer
        """Keep the connection for answers that are owed to a client that sends no more.

        Under TLS this event loop ends both ways at once. A client that has gone looks the same, until it is written to.
        """
        self._sent_all = True
        return self._owes() and self.scheme != "https"

    def _owes(self) -> bool:
        """Whether a request that has arrived has no answer yet."""
        cycles = (self._running, *(waiting for waiting, _ in self.pipeline))
        return any(cycle and not (cycle.more_body or cycle.response_complete) for cycle in cycles)

    def _close_if_done(self) -> None:
        """Close where the client sends no more, and has its answers; a refusal closes by itself."""
        if self._sent_all and self._refusal is None and not self._owes():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._unset_keepalive_if_required()  # uvicorn does where the client closed, and not after a reset
        # uvicorn tells the last of several pipelined requests only, and the others would write to nobody.
        for cycle in (self._running, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)


def _closing(app: ASGIApp, cycle: RequestResponseCycle) -> Any:  # noqa: ANN401 - uvicorn has its own word for it
    """Wrap the application for a client that waits before it sends its body.

    Where an answer comes first, the body may follow or not (RFC 9110, section 10.1.1): so nothing is read after it.
    """

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_close(message: Message) -> None:
            if cycle.waiting_for_100_continue and cycle.more_body and not cycle.body:
                cycle.keep_alive = False
            await send(message)

        await app(scope, receive, send_and_close)

    return answered
