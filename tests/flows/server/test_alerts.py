"""Prefect's automations, on a real server, tell a real listener what happened."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prefect import flow, tags
from prefect.blocks.notifications import SlackWebhook
from prefect.client.orchestration import get_client
from prefect.states import Late, Scheduled

from flows.pipeline.runner import pipeline_flow
from flows.server import alerts
from tasks.runtime.errors import BudgetExceeded, InputError

pytestmark = pytest.mark.usefixtures("prefect_server")
WAIT_SEC = 60
FAULT = 'names may hold {{url}}, "quotes" and\nlines'


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[str]]]:
    """A listener's URL, and the texts that it is sent."""
    texts: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            texts.append(json.loads(body)["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/secret", texts
        server.shutdown()


@pipeline_flow("spends", run_name="spends too much")
def spends() -> None:
    raise BudgetExceeded(FAULT)


@flow(result_serializer="json")
def waits() -> None:
    return


def test_somebody_is_told(webhook: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    url, texts = webhook
    said: list[str] = []
    trigger, sentence = alerts.ALERTS["wca: no inbox run"]
    soon = trigger.model_copy(update={"within": timedelta(seconds=10)})
    monkeypatch.setitem(alerts.ALERTS, "wca: no inbox run", (soon, sentence))
    with alerts.print_alerts(said.append) as printer, get_client(sync_client=True) as client:
        receivers = [printer, alerts.find_receiver(url)]
        shown = client.read_block_document(receivers[1], include_secrets=False)
        assert url not in shown.model_dump_json()
        alerts.create_automations(receivers)
        alerts.create_automations(receivers)
        made = [a for a in client.read_automations() if a.name in alerts.ALERTS]
        assert len(made) == len(alerts.ALERTS)
        time.sleep(2)  # services of the server learn of them by and by
        with tags("wca"), pytest.raises(BudgetExceeded):
            spends()
        deployment = client.create_deployment(client.create_flow(waits), "late", tags=["wca"])
        late = client.create_flow_run_from_deployment(deployment, tags=["wca"], state=Scheduled())
        client.set_flow_run_state(late.id, Late())
        until = time.monotonic() + WAIT_SEC
        try:
            while len(set(texts)) < 4 or len(set(said)) < 4:
                assert time.monotonic() < until, (texts, said)
                time.sleep(0.2)
        finally:
            client.delete_deployment(deployment)
            for automation in made:
                client.delete_automation(automation.id)
            for block in receivers:
                client.delete_block_document(block)
    assert set(texts) == {
        FAULT,
        f"spends too much is Failed: Flow run encountered an exception: BudgetExceeded: {FAULT}",
        "late has not started in time: is its worker running, or busy?",
        "No run of classify-inbox was completed for 60 minutes.",
    }
    assert set(said) == {f"Alert       {' '.join(text.split())}" for text in texts}


def test_a_receiver_is_a_url_or_a_block_of_prefect() -> None:
    given = SlackWebhook(url="https://hooks.slack.com/XXX")
    saved = given.save("of-operators", overwrite=True)
    assert alerts.find_receiver("slack-webhook/of-operators") == saved
    for unknown in ("slack-webhook/nobody", "nobody", ""):
        with pytest.raises(InputError, match="make one under Blocks"):
            alerts.find_receiver(unknown)
