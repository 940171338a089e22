"""An application to call the command line on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner, Result

from kernel import Kernel
from kernel.cli.main import cli
from kernel.envelope import Dead, decode, encode_dead
from kernel.ports import Outgoing


@dataclass
class Shop:
    """An application on the memory adapter, whose space the command line of the same process shares."""

    app: Kernel
    url: str

    def run(self, *arguments: str, input: str | None = None) -> Result:
        """Run a command on its ports."""
        return CliRunner().invoke(cli, [*arguments, "--transport", self.url], input=input)

    def json(self, *arguments: str) -> Any:
        """What a command prints as JSON, when it succeeds."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def send(self, queue: str, *payloads: bytes) -> None:
        """Put frames into a queue."""
        self.app.ports.transport.send([Outgoing(queue, payload) for payload in payloads])

    def payloads(self, queue: str) -> list[bytes]:
        """What is ready or delayed in a queue."""
        found: list[bytes] = self.app.ports.transport.peek(queue, 1000)  # type: ignore[attr-defined]
        return found

    def letters(self, queue: str) -> list[str]:
        """Ids of the tasks whose letters are among those of a queue."""
        return [letter.id for letter in self.app.dead(queue).list(limit=100_000)]

    def call(self, task: str, *args: Any, **options: Any) -> bytes:
        """The frame of a call, which is in no queue."""
        self.app.send_task(task, args, queue="elsewhere", **options)
        (delivery,) = self.app.ports.transport.receive(["elsewhere"], 1, 0.0)
        self.app.ports.transport.ack([delivery])
        return delivery.payload

    def bury(self, payload: bytes, queue: str = "mail", **fields: Any) -> str:
        """Put a dead letter of a frame among those of a queue; returns its task id."""
        about: dict[str, Any] = {"kind": "failed", "reason": "the task failed", "last_at": 1_700_000_000.0, **fields}
        self.send(f"{queue}.dead", encode_dead(Dead(payload, queue, **about)))
        return decode(payload).id
