"""What somebody does with `make ui`: look, fill in the form, watch, let schedules run, stop."""

import io
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from PIL import Image
from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.runtime import flow_run

from flows.pipeline.artifacts import publish_inbox, publish_report, publish_table
from tasks.store.schemas import schema
from tasks.store.tables import Store
from tests.ui.conftest import Ui

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.ui

RUN_SEC = 300  # a run of the sixteen photographs on two busy cores takes one


def deployment(name: str) -> DeploymentResponse:
    with get_client(sync_client=True) as client:
        (found,) = [d for d in client.read_deployments() if d.name == name]
        return found


def runs_of(name: str) -> list[FlowRun]:
    """A deployment's runs that have ended, oldest first."""
    wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment(name).id]))
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(deployment_filter=wanted)
    ended = [run for run in runs if run.state and run.state.is_final() and run.start_time]
    return sorted(ended, key=lambda run: str(run.start_time))


def latest_run_id(name: str) -> UUID:
    """A deployment's latest run, whatever its state."""
    wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment(name).id]))
    with get_client(sync_client=True) as client:
        return max(client.read_flow_runs(deployment_filter=wanted), key=lambda r: str(r.created)).id


def wait_for_runs(name: str, count: int) -> list[FlowRun]:
    """So many runs that began and ended; those cancelled because one was running do not count."""
    until = time.monotonic() + RUN_SEC
    while len(runs := [run for run in runs_of(name) if run.state_name != "Cancelled"]) < count:
        assert time.monotonic() < until
        time.sleep(1)
    return runs


def task_states(run: FlowRun) -> dict[str, str | None]:
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    with get_client(sync_client=True) as client:
        tasks = client.read_task_runs(flow_run_filter=wanted)
    return {task.name: task.state_name for task in tasks}


def save(picture: bytes, name: str, folder: Path) -> None:
    """Keep a screenshot, small; WCA_SCREENSHOTS names the folder that the documentation shows."""
    folder = Path(os.environ.get("WCA_SCREENSHOTS") or folder)
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").quantize(48).save(folder / f"{name}.png", optimize=True)


def test_a_benchmark_from_the_form_to_its_artifacts(
    ui: Ui, browser: "Browser", tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    page = browser.new_page(viewport={"width": 1120, "height": 760})
    page.set_default_timeout(60_000)
    page.goto(f"{ui.address}/deployments")
    for name in ("benchmark", "benchmark-nightly", "describe", "classify-inbox"):
        expect(page.get_by_role("link", name=name, exact=True).first).to_be_visible()
    save(page.screenshot(), "ui-deployments", tmp_path)

    page.get_by_role("link", name="benchmark", exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    expect(page.get_by_text("Crops embedded and kept per image.")).to_be_visible()
    label = page.get_by_text("Crops embedded and kept per image.")
    label.locator("xpath=ancestor::*[.//input][1]//input").first.fill("60")
    page.get_by_text("Parameters of the benchmark flow.").scroll_into_view_if_needed()
    save(page.screenshot(), "ui-form", tmp_path)
    page.get_by_role("button", name="Submit").click()

    page.wait_for_url(lambda url: "/run?" not in url)  # once it is submitted
    page.goto(f"{ui.address}/runs/flow-run/{latest_run_id('benchmark')}")
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible(timeout=RUN_SEC * 1000)
    title = "sixteen-photographs with photo-lite, seed 0"
    expect(page.get_by_text(title).first).to_be_visible()
    expect(page.get_by_text("embed images 1 of 1").first).to_be_visible()
    page.reload()  # a graph that grew while it was looked at is flat
    page.wait_for_timeout(4000)
    save(page.screenshot(), "ui-run", tmp_path)
    page.get_by_text("Artifacts", exact=True).last.click()
    for kind in ("accuracy", "comparison", "rejected"):
        expect(page.get_by_text(f"{kind}-sixteen-photographs").first).to_be_visible()
    page.get_by_text("comparison-sixteen-photographs").first.click()
    expect(page.get_by_text("points above CLIP").first).to_be_visible()
    expect(page.get_by_text("WCA", exact=True).first).to_be_visible()
    page.wait_for_timeout(1000)  # the table fades in
    save(page.screenshot(), "ui-comparison", tmp_path)
    page.close()
    (run,) = runs_of("benchmark")
    assert run.parameters["config"]["pool"] == 60


def test_no_name_has_the_browser_call_out(ui: Ui, browser: "Browser", tmp_path: Path) -> None:
    from playwright.sync_api import expect

    heard: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            self.send_error(404)

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    place = f"127.0.0.1:{listener.server_port}"
    call = f"<img src=http:\\\\{place}\\html> ![x](http://{place}/markdown)"
    store = Store(tmp_path)
    facts = {"inbox_name": call, "image_name": call, "class_name": call, "classified_at": call}
    store.write_rows("inbox", "a" * 64, schema("inbox"), [facts])

    @flow(flow_run_name=call.replace("{", ""))
    def publish() -> str:
        publish_table("table", call, [{"name": call, call: call}])
        publish_inbox(store, call, 1, 1, 0)
        publish_report(call, call, tmp_path / "report.html")
        return str(flow_run.get_id())

    @flow
    def publish_unescaped() -> str:
        create_table_artifact([{"name": call}], "unescaped", call)
        return str(flow_run.get_id())

    page = browser.new_page()

    def look_at(run_id: str) -> None:
        chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run_id)]))
        with get_client(sync_client=True) as client:
            artifacts = client.read_artifacts(artifact_filter=chosen)
        pages = [f"/runs/flow-run/{run_id}", f"/runs/flow-run/{run_id}?tab=Artifacts", "/artifacts"]
        pages += [f"/artifacts/key/{artifact.key}" for artifact in artifacts]
        pages += [f"/artifacts/artifact/{artifact.id}" for artifact in artifacts]
        for address in [*pages, *(f"/v2{address}" for address in pages)]:  # two programs
            page.goto(f"{ui.address}{address}")
            page.wait_for_timeout(1500)

    try:
        look_at(publish())
        page.goto(f"{ui.address}/artifacts")  # they are shown as they are written
        expect(page.get_by_text(f"![x](http://{place}/markdown)").first).to_be_visible()
        assert heard == []
        look_at(publish_unescaped())
        assert {"/html", "/markdown"} <= set(heard)  # the listener hears
    finally:
        page.close()
        listener.shutdown()
        listener.server_close()


def test_a_schedule_of_a_minute_runs_twice_and_the_second_is_cached(ui: Ui) -> None:
    nightly = deployment("benchmark-nightly")
    every_minute = DeploymentScheduleCreate(
        schedule=IntervalSchedule(interval=timedelta(minutes=1)), active=True
    )
    with get_client(sync_client=True) as client:
        (added,) = client.create_deployment_schedules(
            nightly.id, [(every_minute.schedule, every_minute.active)]
        )
        try:
            first, second = wait_for_runs("benchmark-nightly", 2)[:2]
        finally:
            client.delete_deployment_schedule(nightly.id, added.id)
    assert (first.state_name, second.state_name) == ("Completed", "Completed")
    states = task_states(second)
    # reading files is how changes are noticed, and a page is made of tables that may have changed
    done = {name for name, state in states.items() if state == "Completed"}
    assert {name.rpartition("-")[0] or name for name in done} == {"index images", "write-report"}
    assert len(states) > 6
    assert {state for name, state in states.items() if name not in done} == {"Cached"}


def test_a_run_that_fails_says_what_to_do(ui: Ui) -> None:
    with get_client(sync_client=True) as client:
        client.create_flow_run_from_deployment(
            deployment("describe").id, parameters={"config": {"classes": "nonsense"}}
        )
    (run,) = wait_for_runs("describe", 1)
    assert run.state
    assert run.state.is_failed()
    assert "Unknown data set 'nonsense': write folder:PATH" in (run.state.message or "")


def test_a_second_one_is_told_that_the_server_runs_and_another_program_has_the_port(
    ui: Ui,
) -> None:
    wca = [sys.executable, "-m", "flows.cli", "ui", "--port"]
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = subprocess.run(
            [*wca, str(other.getsockname()[1])],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    assert "cannot be used (Address already in use): choose another with --port" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_ctrl_c_stops_everything_and_leaves_the_schedules_active(ui: Ui) -> None:
    longer = {"data": "sixteen-photographs", "pool": 1000, "seed": 1}
    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(
            deployment("benchmark").id, parameters={"config": longer}
        )
        until = time.monotonic() + 60
        while client.read_flow_run(run.id).state_name != "Running":
            assert time.monotonic() < until
            time.sleep(0.2)
    time.sleep(5)  # in the middle of embedding
    ui.press_ctrl_c()
    said = ui.said()
    assert said.index("Stopping the worker.") < said.index("Stopping the server.")
    assert "Traceback" not in said
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", ui.port))  # nobody listens
    with sqlite3.connect(ui.home / "prefect.db") as database:
        query = "SELECT state_name FROM flow_run WHERE id = ?"
        assert database.execute(query, [str(run.id)]).fetchall() == [("Crashed",)]
        query = """SELECT d.name, s.active FROM deployment_schedule s
            JOIN deployment d ON d.id = s.deployment_id ORDER BY d.name"""
        assert database.execute(query).fetchall() == [
            ("benchmark-nightly", 1),
            ("classify-inbox", 1),
            ("maintain", 1),
        ]
