"""Verifies the log: every event against the chain, the chain against itself, and both against checkpoints.

It only reads, a stretch at a time, so the service can run meanwhile and memory stays flat.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection

from infrastructure.audit import blocks, checkpoints, log
from infrastructure.audit.blocks import Block
from infrastructure.audit.chain import ENTRY, leaf, link
from infrastructure.audit.checkpoints import Kept
from infrastructure.audit.findings import Difference, Differences, Finding, Hint, explain, holes
from infrastructure.audit.signing import Witness
from infrastructure.database.engines import Database

Progress = Callable[[int, int], None]  # (events looked at, events in the chain)
Hints = Callable[[Connection, Sequence[int]], Mapping[int, Hint]]
_BLOCKS = 200  # read at a time
_ENTRIES = 4096  # compared at a time
_PAGE = 4096  # events read at a time
_MOST = 1000  # differences told; the others are counted


@dataclass(slots=True)
class Verdict:
    """What came of it."""

    log_id: str = ""
    position: int = 0  # up to where the chain goes
    events: int = 0  # that were looked at
    blocks: int = 0
    checkpoints: int = 0  # that the chain agrees with
    signed: int = 0  # of these, by a key that was given
    strangers: int = 0  # signed by keys that were not given, so nobody can say whether rightly
    unsigned: int = 0
    uncovered: int = 0  # events after the end of the chain
    findings: list[Finding] = field(default_factory=list)
    more: int = 0  # differences that are not told

    @property
    def ok(self) -> bool:
        return not self.findings

    def as_document(self) -> dict[str, Any]:
        names = (
            "log_id",
            "position",
            "events",
            "blocks",
            "checkpoints",
            "signed",
            "strangers",
            "unsigned",
            "uncovered",
        )
        told = {name: getattr(self, name) for name in names}
        return {"ok": self.ok, **told, "more": self.more, "findings": [each.as_document() for each in self.findings]}


class Verification:
    """One look through the whole log."""

    def __init__(
        self,
        database: Database,
        witnesses: Sequence[Witness] = (),
        against: Sequence[Mapping[str, Any]] = (),
        hints: Hints = lambda connection, positions: {},
    ) -> None:
        """`against` are checkpoints from elsewhere, whose signatures have been checked by whoever gives them."""
        self._database = database
        self._witnesses = {witness.id: witness for witness in witnesses}
        self._against = sorted(against, key=lambda document: document["position"])
        self._hints = hints
        self._verdict = Verdict()
        self._differences = Differences(_MOST)
        self._matched = 0  # the position of the last checkpoint that the chain agrees with

    async def run(self, report: Progress = lambda done, total: None) -> Verdict:
        log_id = await self._database.ask(blocks.log_id)
        if log_id is None:
            self._find("chain", None, "The beginning of the chain, block 0, is missing, so nothing can be verified.")
            return self._verdict
        self._verdict.log_id = log_id.hex()
        total = (await self._database.ask(blocks.newest)).total
        await self._agree(None, 0, {0: (log_id, 0)})
        reached = await self._to_the_end(Block(0, 0, 0, 0, 0, b"", log_id), report, total)
        self._verdict.position, self._verdict.blocks = reached.last, reached.number
        self._verdict.uncovered = await self._database.ask(log.count, reached.last)
        self._verdict.findings += holes(await self._database.ask(log.broken_streams, _MOST))
        await self._explain()
        return self._verdict

    async def _to_the_end(self, last: Block, report: Progress, total: int) -> Block:
        """Blocks and checkpoints may be added meanwhile; a checkpoint that no block goes up to even then is wrong."""
        while True:
            last = await self._through(last, report, total)
            beyond = await self._database.ask(checkpoints.between, last.last, None)
            if (await self._database.ask(blocks.newest)).number == last.number:
                break
        for document in self._chosen(beyond, last.last, None):
            said = f"The checkpoint of {document['time']} is of position {document['position']}"
            self._find("checkpoint", document["position"], f"{said}; the chain ends at {last.last}.")
        return last

    # -- block by block --------------------------------------------------------------------------------------------

    async def _through(self, last: Block, report: Progress, total: int) -> Block:
        compared = last.last if last.number else log.EVERYTHING  # up to where events were compared
        while found := await self._database.ask(blocks.after, last.number, _BLOCKS):
            for stretch in _stretches(found):
                compared = max(compared, self._gap(last, stretch[0], compared))
                reached = self._follow(last, stretch)
                await self._agree(last.last, stretch[-1].last, reached)
                await self._compare(stretch, compared)
                last, compared = stretch[-1], max(compared, stretch[-1].last)
                report(self._verdict.events, max(total, self._verdict.events))
        return last

    def _gap(self, last: Block, block: Block, compared: int) -> int:
        """Where missing blocks end: events there cannot be compared, and that is said once for all of them."""
        if block.number == last.number + 1:
            return compared
        numbers = f"{last.number + 1} to {block.number - 1}"
        said = (
            f"Blocks {numbers} are missing: events after position {last.last} and before {block.first} have no proof."
        )
        self._find("chain", block.first, said)
        return block.first - 1

    def _follow(self, last: Block, stretch: Sequence[Block]) -> dict[int, tuple[bytes, int]]:
        """The chain's hash and the number of events at each position, from what the blocks hold."""
        reached: dict[int, tuple[bytes, int]] = {}
        for block in stretch:
            chain, total = last.chain, last.total
            for each in block.entries:
                chain, total = link(chain, each.leaf), total + 1
                reached[each.position] = (chain, total)
            for wrong in _wrong(last, block, chain):
                self._find("chain", block.first, f"Block {block.number}: {wrong}.")
            last = block
        return reached

    async def _compare(self, stretch: Sequence[Block], after: int) -> None:
        chained = dict(entry for block in stretch for entry in block.entries)
        end = max(chained, default=stretch[-1].last)
        while (reached := await self._database.ask(self._read, chained, after, end)) is not None:
            after = reached
        for position, leaf_ in chained.items():
            self._differences.add(Difference(position, None, leaf_))

    def _read(self, connection: Connection, chained: dict[int, bytes], after: int, up_to: int) -> int | None:
        """Compare a page of events, taking what is found from `chained`. Its last position; None when it is empty."""
        page = log.page(connection, after, _PAGE, up_to)
        for stored in page:
            before = chained.pop(stored.position, None)
            if before != leaf(stored):
                self._differences.add(Difference(stored.position, stored, before))
        self._verdict.events += len(page)
        return page[-1].position if page else None

    # -- checkpoints -----------------------------------------------------------------------------------------------

    async def _agree(self, after: int | None, up_to: int, reached: Mapping[int, tuple[bytes, int]]) -> None:
        """Compare the checkpoints of a stretch with the chain."""
        for document in self._chosen(await self._database.ask(checkpoints.between, after, up_to), after, up_to):
            chain, count = reached.get(document["position"], (b"", -1))
            if document["log_id"] != self._verdict.log_id:
                said = f"is of another log, {document['log_id']}, or block 0 was replaced"
            elif chain.hex() != document["chain"] or count != document["count"]:
                said = f"says that the chain is {document['chain']} after {document['count']} events, and it is not: "
                said += f"the log was rewritten after position {self._matched}"
            else:
                self._matched = document["position"]
                self._verdict.checkpoints += 1
                continue
            self._find("checkpoint", document["position"], f"The checkpoint of {document['time']} {said}.")

    def _chosen(self, kept: Sequence[Kept], after: int | None, up_to: int | None) -> list[Mapping[str, Any]]:
        """Kept and given checkpoints at these positions; kept ones whose signature is wrong are found out."""
        documents = [document for each in kept if (document := self._genuine(each))]
        given = [each for each in self._against if _is_between(after, each["position"], up_to)]
        return sorted([*documents, *given], key=lambda document: int(document["position"]))

    def _genuine(self, kept: Kept) -> Mapping[str, Any] | None:
        try:
            document = kept.document
        except ValueError:
            self._find("checkpoint", kept.position, f"What is kept as checkpoint {kept.number} is none.")
            return None
        witness = self._witnesses.get(str(document["key_id"]))
        if document["signature"] is None:
            self._verdict.unsigned += 1
        elif witness is None:
            self._verdict.strangers += 1
        elif witness.signed(document):
            self._verdict.signed += 1
        else:
            self._find("checkpoint", kept.position, f"The signature of checkpoint {kept.number} is wrong.")
            return None
        return document

    # -- at the end ------------------------------------------------------------------------------------------------

    async def _explain(self) -> None:
        found = self._differences.found
        hints = await self._database.ask(self._hints, [each.position for each in found]) if found else {}
        self._verdict.findings += explain(found, hints)
        self._verdict.findings.sort(key=lambda finding: (finding.position is None, finding.position or 0))
        self._verdict.more = self._differences.more

    def _find(self, kind: Any, position: int | None, what: str) -> None:
        if len(self._verdict.findings) < _MOST:
            self._verdict.findings.append(Finding(kind, position, what))
        else:
            self._verdict.more += 1


def _is_between(after: int | None, position: int, up_to: int | None) -> bool:
    return (after is None or position > after) and (up_to is None or position <= up_to)


def _stretches(found: Iterable[Block]) -> Iterator[list[Block]]:
    """Blocks in groups that are worth a query, without a missing one inside a group."""
    group: list[Block] = []
    for block in found:
        if group and (block.number != group[-1].number + 1 or sum(b.count for b in group) >= _ENTRIES):
            yield group
            group = []
        group.append(block)
    if group:
        yield group


def _wrong(last: Block, block: Block, chain: bytes) -> Iterator[str]:
    """What of a block does not fit itself, or the block before."""
    places = [entry.position for entry in block.entries]
    if block.number == last.number + 1 and (chain != block.chain or len(block.chain) != len(chain)):
        yield "its hash does not follow from the block before and its entries"
    if len(places) != block.count or len(block.packed) != block.count * ENTRY or not places:
        yield "it has another number of entries than it says"
    elif (places[0], places[-1]) != (block.first, block.last) or any(a >= b for a, b in pairwise(places)):
        yield "its positions are not in order, or others than it says"
    elif places[0] <= last.last:
        yield "it begins before the end of the block before"
    elif block.number == last.number + 1 and block.total != last.total + block.count:
        yield "it counts otherwise than the block before"
