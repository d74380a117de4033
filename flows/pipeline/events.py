"""Events of this project, to which Prefect's automations react."""

from prefect.events import emit_event
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.pipeline.summary import RunSummary
from tasks.methods.registry import method_title
from tasks.runtime.text import count_of
from tasks.store.published.snapshot import open_snapshot
from tasks.store.tables import Store, TableRef

REGRESSED = "wca.accuracy.regressed"
REJECTED = "wca.inbox.rejected"
OVER_BUDGET = "wca.budget.reached"
NAMED = 5  # files that a sentence names; the tables have all

# A run that is repeated has its numbers already: only its first execution can be news.
_FALLEN = """
SELECT now.method, now.top1, past.top1, past.run_id
FROM runs AS this
JOIN accuracy AS now ON now.run_id = this.run_id
JOIN (
    SELECT other.* FROM runs AS other JOIN runs AS it ON it.run_id = $run_id
    WHERE other.run_id != it.run_id AND other.damage IS NULL
    AND other.flow_name = it.flow_name AND other.dataset_name = it.dataset_name
    AND other.root IS NOT DISTINCT FROM it.root
    AND other.encoder_name = it.encoder_name AND other.parameters = it.parameters
    ORDER BY other.last_finished_at DESC LIMIT 1
) AS last ON true
JOIN accuracy AS past ON past.run_id = last.run_id AND past.method = now.method
WHERE this.run_id = $run_id AND this.first_finished_at = this.last_finished_at
AND now.top1 - past.top1
    + sqrt((now.top1_high - now.top1) ** 2 + (past.top1 - past.top1_low) ** 2) < 0
ORDER BY past.top1 - now.top1 DESC
"""


def emit(event: str, about: str, sentence: str, **facts: object) -> None:
    """Send an event of the present flow run, and log its sentence.

    about: what it happened to, the name of the event's resource.
    """
    get_run_logger().warning("%s", sentence)
    resource = {
        "prefect.resource.id": f"wca.flow-run.{flow_run.get_id()}",
        "prefect.resource.name": about,
    }
    emit_event(event, resource, payload={"sentence": sentence, **facts})


def emit_regression(summary: RunSummary) -> None:
    """Send REGRESSED where a method is worse than in the last run of the same settings.

    Worse: the 95 % interval of the change of its top-1 accuracy lies below 0 (Newcombe 1998,
    method 10), the rule of "Which classes got worse" in docs/queries.md.
    """
    with open_snapshot(summary.snapshot, summary.run_id) as snapshot:
        fallen = snapshot.execute(_FALLEN, {"run_id": summary.run_id}).fetchall()
    if fallen:
        method, now, past, earlier = fallen[0]
        sentence = (
            f"{summary.dataset_name}: {method_title(method)} fell from {100 * past:.2f} to "
            f"{100 * now:.2f} % between run {earlier[:8]} and run {summary.run_id[:8]}, more than "
            "the number of images explains: `wca compare` shows which images."
        )
        methods = [row[0] for row in fallen]
        facts = {"run_id": summary.run_id, "earlier_run_id": earlier, "methods": methods}
        emit(REGRESSED, summary.dataset_name, sentence, **facts)


def emit_rejected(store: Store, inbox_name: str, batches: list[TableRef]) -> None:
    """Send REJECTED where files of an inbox could not be used."""
    columns = ["image_name", "reason"]
    rows = [row for ref in batches for row in store.read(ref, columns).to_pylist()]
    names = [row["image_name"] for row in rows if row["reason"] is not None]
    if names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        sentence = (
            f"{inbox_name}: {count_of(len(names), 'file')} could not be used: "
            f"{', '.join(names[:NAMED])}{more}. The table `inbox` has the reasons."
        )
        emit(REJECTED, inbox_name, sentence, rejected_count=len(names))
