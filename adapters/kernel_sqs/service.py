"""The clients, made once by botocore, on which boto3 stands; each call is an answer or an error of the port."""

from __future__ import annotations

from typing import Any

from botocore.config import Config
from botocore.exceptions import NoCredentialsError
from botocore.loaders import Loader
from botocore.session import Session

from kernel.errors import KernelError, PortError, Unavailable
from kernel_sqs.faults import RAISED, code_of, is_answer, translate, translate_opening
from kernel_sqs.url import Location

#: Connections beside those of the long polls: senders and settlers of a process that has many threads.
OTHERS = 16


#: Descriptions of the services, read once per process: 0.1 s, and the same for every session.
_LOADER = Loader()


class Service:
    """SQS, and S3 where payloads go there. Clients may be used by any thread."""

    def __init__(self, location: Location, polls: int) -> None:
        self._location = location
        self._polls = polls
        self._sqs: Any = None
        self._s3: Any = None
        self._closed = False
        #: Whether SQS has answered nothing since a call of which nobody knows what came of it.
        self._unheard = False

    @property
    def where(self) -> str:
        """How to name the service in an error."""
        return f"SQS at {self._location.endpoint}" if self._location.endpoint else "SQS"

    @property
    def closed(self) -> bool:
        """`close` was called."""
        return self._closed

    def open(self) -> bool:
        """Make the clients; returns whether they are new. `ConfigError` without region or credentials."""
        if self._closed:
            raise Unavailable(f"{self.where}: closed")
        if self._sqs is not None:
            return False
        location = self._location
        try:
            # The session below that of boto3, with the same chain of credentials, and one of our own: the default one
            # is shared with the application, and no session may be used by two threads.
            session = Session(profile=location.profile or None)
            session.register_component("data_loader", _LOADER)
            if session.get_credentials() is None:
                raise NoCredentialsError
            sqs = self._client(session, "sqs", location.endpoint)
            if location.bucket:
                self._s3 = self._client(session, "s3", location.s3_endpoint)
        except (*RAISED, ValueError) as error:
            raise self._opening(error) from error
        self._sqs = sqs
        return True

    def probe(self, operation: str, harmless: frozenset[str], **arguments: Any) -> None:
        """See whether the service answers, where errors with a code in `harmless` are answers too."""
        try:
            getattr(self._sqs, operation)(**arguments)
        except RAISED as error:
            if code_of(error) not in harmless:
                self._sqs = None  # not open: the next `open` looks for credentials again
                raise self._opening(error) from error

    def sqs(self, operation: str, queue: str, **arguments: Any) -> dict[str, Any]:
        """Call SQS; `queue` is for the error alone. `Unavailable` or `Rejected`, never tried again here."""
        try:
            answer = self._call(self._sqs, operation, queue, arguments)
        except PortError as error:
            if error.sent == "unknown":
                self._unheard = True
            elif is_answer(error):
                self._unheard = False
            raise
        self._unheard = False
        return answer

    def be_heard(self, queue: str, url: str) -> None:
        """After a call whose answer did not come, see that SQS answers before anything is sent: `Unavailable`, and
        nothing sent, while it does not.

        Every try of a send whose answer is lost leaves one more copy, and HTTP has no greeting that would show that
        answers are lost. A refusal is an answer too: the right to read attributes is not needed for anything else.
        """
        if not self._unheard:
            return
        try:
            self.sqs("get_queue_attributes", queue, QueueUrl=url, AttributeNames=["QueueArn"])
        except PortError as error:
            if not is_answer(error):
                raise Unavailable(str(error)) from error

    def s3(self, operation: str, key: str, **arguments: Any) -> dict[str, Any]:
        """Call S3, as `sqs` does."""
        return self._call(self._s3, operation, key, arguments)

    def check(self) -> None:
        """`Unavailable` before `open` and after `close`."""
        if self._closed or self._sqs is None:
            raise Unavailable(f"{self.where}: {'closed' if self._closed else 'not open'}")

    def shut(self) -> None:
        """From now on `check` refuses; what is under way goes on."""
        self._closed = True

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._closed = True
        for client in (self._sqs, self._s3):
            if client is not None:
                client.close()

    def _call(self, client: Any, operation: str, what: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if client is None:
            raise Unavailable(f"{self.where}: not open")
        try:
            answer: dict[str, Any] = getattr(client, operation)(**arguments)
            return answer
        except RAISED as error:
            raise translate(error, f"{operation} of {what!r}") from error

    def _opening(self, error: Exception) -> KernelError:
        return translate_opening(error, self.where)

    def _client(self, session: Session, name: str, endpoint: str) -> Any:
        region = self._location.region or None
        return session.create_client(name, region_name=region, endpoint_url=endpoint or None, config=self._config())

    def _config(self) -> Config:
        # One attempt: the loop that tries again is the kernel's, and two that do so multiply.
        return Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=self._location.timeout,
            read_timeout=self._location.timeout + self._location.wait,
            max_pool_connections=self._polls + OTHERS,
            tcp_keepalive=True,
        )
