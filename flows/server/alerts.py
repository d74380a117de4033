"""Who is told when a flow run fails, is late or is missing, and of the events of this project.

Prefect's automations send a sentence to `wca ui`, which prints it, and to one other receiver.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import cast
from uuid import UUID

from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from flows.server.temporary import HOST
from tasks.runtime.errors import InputError

INBOX = "classify-inbox"
SILENT_SEC = 3600
MAX_BYTES = 100_000  # of a sentence's request
_TAGGED = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.wca"}
_OF_INBOX = {"prefect.resource.role": "deployment", "prefect.resource.name": INBOX}
_STATE = "event.payload.validated_state"
# The names of the automations, what each waits for, and its sentence as Prefect's template.
ALERTS = {
    "wca: a run failed or crashed": (
        EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}, match_related=_TAGGED
        ),
        f"{{{{ flow_run.name }}}} is {{{{ {_STATE}.name }}}}: {{{{ {_STATE}.message }}}}",
    ),
    "wca: a run is late": (
        EventTrigger(expect={"prefect.flow-run.Late"}, match_related=_TAGGED),
        "{{ deployment.name }} has not started in time: is its worker running, or busy?",
    ),
    "wca: no inbox run": (
        EventTrigger(
            expect={"prefect.flow-run.Completed"},
            match_related=_OF_INBOX,
            posture=Posture.Proactive,
            within=timedelta(seconds=SILENT_SEC),
        ),
        f"No run of {INBOX} was completed for {SILENT_SEC // 60} minutes.",
    ),
    "wca: an event": (EventTrigger(expect={"wca.*"}), "{{ event.payload.sentence }}"),
}


def create_automations(receivers: list[UUID]) -> None:
    """Create the automations, or update them; one that somebody switched off stays off.

    receivers: Prefect's notification blocks that each sentence goes to.
    """
    with get_client(sync_client=True) as client:
        for name, (trigger, sentence) in ALERTS.items():
            actions = [
                SendNotification(block_document_id=block, subject=name, body=sentence)
                for block in receivers
            ]
            automation = AutomationCore(name=name, trigger=trigger, actions=actions, tags=["wca"])
            if there := client.read_automations_by_name(name):
                automation.enabled = there[0].enabled
                # Prefect's client sends of a model what was set, and its server wants all
                full = AutomationCore.model_validate(
                    automation.model_dump(exclude={"owner_resource"})
                )
                client.update_automation(there[0].id, full)
            else:
                client.create_automation(automation)


def find_receiver(given: str) -> UUID:
    """The notification block that `--alerts` names: a webhook's URL or TYPE/NAME.

    Raises InputError where Prefect has no block of that name.
    """
    if given.startswith(("http://", "https://")):
        return _save_webhook("wca-alerts", given)
    block_type, _, name = given.partition("/")
    try:
        with get_client(sync_client=True) as client:
            return client.read_block_document_by_name(name, block_type).id
    except ObjectNotFound as error:
        raise InputError(
            f"--alerts {given} is neither a URL nor a block of Prefect as slack-webhook/NAME: "
            "make one under Blocks in the UI."
        ) from error


def _save_webhook(name: str, url: str) -> UUID:
    """A block that posts {"text": sentence} to a URL, which Prefect keeps as a secret."""
    block = CustomWebhookNotificationBlock(
        name=name,
        url="{{url}}",
        json_data={"text": "{{body}}"},
        secrets={"url": url},
    )
    return cast("UUID", block.save(name, overwrite=True))  # a coroutine only where a loop runs


@contextmanager
def print_alerts(say: Callable[[str], None]) -> Iterator[UUID]:
    """Print the sentences that come while the block runs; yield the notification block for them."""
    path = f"/{secrets.token_urlsafe()}"  # so that no other program of the machine has it print

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            is_ours = self.path == path and size <= MAX_BYTES
            self.send_response(204 if is_ours else 404)
            self.end_headers()
            if is_ours:
                text = json.loads(self.rfile.read(size))["text"]
                say(f"Alert       {' '.join(text.split())}")

        def log_message(self, *_: object) -> None:
            """Say nothing of requests."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://{HOST}:{server.server_port}{path}"
        yield _save_webhook("wca-ui", address)
    finally:
        server.shutdown()
        server.server_close()
