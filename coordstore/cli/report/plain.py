"""The report as text: what needs a look with its evidence, then the session, then what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore.cli.overview import overview, state_cell
from coordstore.cli.report.parts import duration, money, task_word
from coordstore.cli.text import Cell, Column, clean, clip, table, wrap

if TYPE_CHECKING:
    from coordstore.cli.report.account import Account
    from coordstore.cli.text import Style
    from coordstore.session.task import Task

__all__ = ["lines"]

EVIDENCE: Final = 6
"""Lines of evidence that are shown of one failure; the page shows more."""
COLUMNS: Final = (
    Column("ATTEMPT", least=8),
    Column("STATE"),
    Column("TIME", right=True),
    Column("STEPS", right=True, spare=1),
    Column("CALLS", right=True),
    Column("TOKENS", right=True, spare=2),
    Column("COST", right=True),
)


def lines(account: Account, style: Style) -> list[str]:
    """Return the report's lines; they fit the style's width."""
    shown: list[str] = []
    failures = account.failures
    if failures:
        shown += [style.paint(f"needs a look: {len(failures)}", "bold")]
        for task in failures:
            shown += _failure(account, task, style)
        shown.append("")
    return [*shown, *overview(account.view, account.now, style), "", *_cost(account, style)]


def _failure(account: Account, task: Task, style: Style) -> list[str]:
    said = state_cell(task_word(account.view, task), style)
    head = f"  {style.paint(task.id, 'bold')}  {style.paint(*said)}"
    reason = clean(account.view.reason(task) or "no reason was recorded")
    found = [head, *(f"    {line}" for line in wrap(reason, style.width - 4, 3, style.mark))]
    if task.latest is None:
        return found
    tally = account.tally(task.latest.agent)
    evidence = [
        line for verdict in tally.verdicts if not verdict.good for line in (verdict.text, *verdict.output.splitlines())
    ]
    evidence += [*tally.last_errors, *tally.last_words]
    return found + [
        style.paint(f"    | {clip(clean(line), style.width - 6, style.mark)}", "dim") for line in evidence[-EVIDENCE:]
    ]


def _cost(account: Account, style: Style) -> list[str]:
    rows = []
    for attempt in account.attempts:
        tally = account.tally(attempt.agent)
        rows.append(
            [
                Cell(attempt.agent, "bold"),
                state_cell("lost" if attempt.lost else str(attempt.state), style),
                Cell(duration(account.seconds(attempt))),
                Cell(str(max(tally.steps, attempt.number_of("step") or 0))),
                Cell(f"{tally.tool_calls}"),
                Cell(f"{tally.input_tokens + tally.output_tokens:,}"),
                Cell(money(tally.cost_usd)),
            ]
        )
    sums = account.totals()
    whole = (
        f"{duration(sums['seconds'])} for {duration(sums['agent_seconds'])} of agents' time, cost {money(account.cost)}"
    )
    return [*(table(COLUMNS, rows, style, "  ") if rows else []), f"  {style.paint('all', 'dim')}     {whole}"]
