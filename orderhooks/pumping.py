"""Pumping: a turn of moving everything that is due, over and over, until nothing is left or the time is up.

It does not depend on the queue: `run` returns whether something is still due, and its caller schedules the next turn.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import DatabaseError, IntegrityError, InterfaceError, InternalError, OperationalError, connections
from django.db.models import QuerySet

from orderhooks import backfilling, conf, erasing, logs, notifications, outbox, replaying, routing, sending
from orderhooks.db import DatabaseClock, Wakeup
from orderhooks.db.locks import is_lock_timeout
from orderhooks.db.primary import own_database
from orderhooks.db.transient_errors import is_transient
from orderhooks.models import Backfill, Erasure, Event, Pump, Replay, SubscriptionSecret
from orderhooks.sending import claiming
from orderhooks.signals import announce_published

logger = logs.get_logger(__name__)

# What Django raises while the database is away, or ends a transaction.
DATABASE_FAILS = (OperationalError, InterfaceError, InternalError)
BEAT_SECONDS = 1.0
LOOK_SECONDS = 0.05
# One that has waited longer than LINGER_SECONDS looks as often as a queue in the database would.
IDLE_LOOK_SECONDS = 0.2
# A pump that has plenty to send looks for new events no more often.
ROUTE_SECONDS = 0.05
# Where processes that publish send a wake-up, a pump looks by itself only for retries.
LISTENING_LOOK_SECONDS = 0.5
RECONNECT_SECONDS = 0.5
ALARM_SECONDS = 30.0
NOTICE_SECONDS = 5.0
LOCKED_SECONDS = 5.0
# A pump stays for the next batch of a backfill if it is due by then.
BACKFILL_SOON = timedelta(seconds=2)


@dataclass(slots=True)
class Turn:
    """One pump's turn. `other_work`: whether a worker is needed for other tasks; `notices_due`: enqueues the e-mails.

    No attempt takes longer than `longest_seconds`: the turn's end waits for it.
    """

    other_work: Callable[[], bool]
    notices_due: Callable[[], object]
    longest_seconds: float | None = None
    # Whether it waits a while for more to do before it ends.
    lingers: bool = True
    # Whether it waits until its time is up: nothing else needs its worker.
    keeps_its_worker: bool = False
    clock: DatabaseClock = field(default_factory=DatabaseClock)
    # When it last looked for new events and found none left; and when to look again if a subscription is locked.
    routed_at: float = 0.0
    route_at: float = 0.0
    # Whether the database refuses to route them. Another turn at once would be refused too; the sweep tries again.
    is_refused: bool = False
    # Whether replays are running.
    replays: bool = False
    # Whether batches of backfills are due, now or soon.
    backfills: bool = False
    # When to look next for alarms that take a search, and whether this turn has done so.
    alarms_at: float = 0.0
    has_looked: bool = False
    # When to look next for e-mails that are due.
    notices_at: float = 0.0
    is_stopped: bool = False
    # Whether erasures are running that can go on; and the keys of those that can't, which the next turn tries again.
    erasures: bool = False
    stuck_erasures: set[int] = field(default_factory=set)
    # What is left to do of the last beat.
    chores: deque[Callable[[], object]] = field(default_factory=deque)

    def run(self, *, until: float) -> bool:
        """Coalesce, route, claim, send and record until `until` (monotonic seconds). Returns whether more is due."""
        settings = conf.current()
        linger_seconds = settings.linger_seconds if self.lingers else 0.0
        now = self.clock.now()
        seen_at = Pump.objects.last_seen_at()
        me = Pump.start(now=now)
        notifications.worker_is_back(seen_at, now=now)
        # What is due goes first: the turn began because of it.
        self.alarms_at = time.monotonic() + BEAT_SECONDS
        try:
            SubscriptionSecret.objects.expired(now=self.clock.now()).delete()
            with (
                Wakeup() as wakeup,
                sending.Sender(
                    threads=settings.worker_threads,
                    wakeup=wakeup,
                    clock=self.clock.now,
                    longest_seconds=self.longest_seconds,
                ) as sender,
            ):
                self._pump(me, sender, wakeup, until=until, linger_seconds=linger_seconds)
            sender.stats.write()
            if not self.has_looked:
                self._look_for_alarms()
        finally:
            me.end(now=self.clock.now())
        # A process that published while the heartbeat was still there has sent no wake-up.
        now = self.clock.now()
        if outbox.is_anything_left_behind(now=now) or self._has_jobs() or claiming.due(now=now):
            return True
        return not self.is_refused and Event.objects.unrouted().exists()

    def stop(self) -> None:
        """Have the turn end soon, with the requests that are under way. May be called by a signal handler."""
        self.is_stopped = True

    def _pump(self, me: Pump, sender: sending.Sender, wakeup: Wakeup, *, until: float, linger_seconds: float) -> None:
        beat_at, last_move, answers, woken = 0.0, time.monotonic(), True, False
        while time.monotonic() < until and not self.is_stopped:
            try:
                wakeup.listen()
                beats = time.monotonic() >= beat_at
                if beats:
                    beat_at = time.monotonic() + BEAT_SECONDS
                    self._beat(me, sender)
                woken = self._do_chores(wakeup) or woken
                routed = self._route(at_once=not sender.is_busy, are_expected=woken)
                woken = False
                moved = routed + sender.claim(now=self.clock.now()) + sender.collect(wait_seconds=LOOK_SECONDS)
                sender.resume()
                answers = True
                if moved or sender.under_way:
                    last_move = time.monotonic()
                elif self.chores:
                    continue
                elif self._may_end(last_move + linger_seconds) or (beats and self._is_in_the_way(me)):
                    break
                else:
                    lingers = time.monotonic() < last_move + linger_seconds
                    # Up to the next beat, so that it does not come between a wake-up and what that was for.
                    look_seconds = _look_seconds(listens=wakeup.listens, lingers=lingers)
                    woken = wakeup.wait(min(look_seconds, max(0.0, beat_at - time.monotonic())))
            except DATABASE_FAILS:
                # What can't be recorded must not be sent. The results that are there wait for the database.
                if answers:
                    logger.exception("the database fails; no request goes out until it works again")
                answers = False
                sender.stop()
                connections[own_database()].close()
                time.sleep(RECONNECT_SECONDS)

    def _route(self, *, at_once: bool, are_expected: bool) -> int:
        """Route new events and those of replays and backfills. Returns how many. Pauses while another process keeps a
        subscription locked, so that sending goes on.
        """
        if time.monotonic() < max(self.route_at, 0.0 if at_once else self.routed_at + ROUTE_SECONDS):
            return 0
        try:
            coalesced = self._coalesce_left_behind() if conf.current().coalesce_in_worker else 0
            routed = routing.route(now=self.clock.now(), are_expected=are_expected or coalesced > 0)
            replayed = replaying.process_batch(now=self.clock.now()) if self.replays else 0
            self.replays = replayed > 0
            backfilled = backfilling.process_batch(now=self.clock.now()) if self.backfills else 0
            erased = self._erase() if self.erasures else 0
            moved = coalesced + routed + replayed + backfilled + erased
            self.routed_at, self.is_refused = 0.0 if moved else time.monotonic(), False
            return moved
        except IntegrityError:
            logger.info("a subscription was deleted meanwhile; new events are routed again", exc_info=True)
            self.route_at = time.monotonic() + RECONNECT_SECONDS
        except DatabaseError as error:
            if is_lock_timeout(error):
                logger.warning("another process keeps a subscription locked; new events wait until it is free")
            elif is_transient(error) or isinstance(error, InternalError):
                raise
            else:
                logger.exception("new events can't be routed; they wait, and what is due is sent")
                self.is_refused = True
            self.route_at = time.monotonic() + LOCKED_SECONDS
        return 0

    def _erase(self) -> int:
        """Move the running erasures on by a step each. Returns how many were moved."""
        moved = 0
        for erasure in self._running_erasures():
            try:
                step = erasing.advance(erasure)
            except OperationalError as error:
                if not is_lock_timeout(error):
                    raise
                continue
            except Exception:
                # The store's code: an order source.
                logger.exception(
                    "an erasure can't go on; `manage.py orderhooks_doctor` says what to fix", erasure=erasure.public_id
                )
                self.stuck_erasures.add(erasure.pk)
                continue
            moved += step.moved
            announce_published(step.events)
        # If nothing was moved, the next beat looks again.
        self.erasures = moved > 0
        return moved

    def _beat(self, me: Pump, sender: sending.Sender) -> None:
        """Say that this pump is at work, and begin the chores of this second."""
        self.clock.look()
        me.beat(now=self.clock.now())
        # One that has plenty to send may not be through with the last ones.
        if not self.chores:
            self.chores.extend(
                [
                    sender.stats.write,
                    self._coalesce_left_behind,
                    lambda: sending.recover(now=self.clock.now(), stats=sender.stats),
                    self._look_for_jobs,
                    self._look_for_alarms_again,
                    self._look_for_notices,
                ]
            )

    def _do_chores(self, wakeup: Wakeup) -> bool:
        """Do one, and go on while nothing wakes this pump: a new order does not wait for all of them. Returns whether
        something did.
        """
        while self.chores:
            self.chores.popleft()()
            if wakeup.wait(0.0):
                return True
        return False

    def _coalesce_left_behind(self) -> int:
        events = outbox.coalesce_left_behind(now=self.clock.now())
        announce_published(events)
        return len(events)

    def _look_for_jobs(self) -> None:
        self.replays = Replay.objects.running().exists()
        self.backfills = self._has_backfills()
        self.erasures = self._running_erasures().exists()

    def _look_for_notices(self) -> None:
        if time.monotonic() < self.notices_at:
            return
        self.notices_at = time.monotonic() + NOTICE_SECONDS
        if notifications.is_due(now=self.clock.now()):
            self.notices_due()

    def _look_for_alarms_again(self) -> None:
        if time.monotonic() >= self.alarms_at:
            self._look_for_alarms()

    def _look_for_alarms(self) -> None:
        """An error in what it reads is logged: nothing that is due waits for it."""
        self.has_looked, self.alarms_at = True, time.monotonic() + ALARM_SECONDS
        try:
            notifications.look(now=self.clock.now())
        except DATABASE_FAILS:
            raise
        except Exception:
            logger.exception("could not look for alarms")

    def _has_jobs(self) -> bool:
        return Replay.objects.running().exists() or self._running_erasures().exists() or self._has_backfills()

    def _running_erasures(self) -> "QuerySet[Erasure]":
        return Erasure.objects.running().exclude(pk__in=self.stuck_erasures)

    def _has_backfills(self) -> bool:
        return Backfill.objects.due(now=self.clock.now() + BACKFILL_SOON).exists()

    def _may_end(self, linger_until: float) -> bool:
        """Whether a pump without work need not wait for more."""
        waits = self.keeps_its_worker or (self.backfills and self.lingers)
        return time.monotonic() > linger_until and not waits

    def _is_in_the_way(self, me: Pump) -> bool:
        """Whether an idle pump should give its worker back: an older one waits, or there is other work to do."""
        if self.keeps_its_worker:
            return False
        return Pump.objects.fresh().filter(started_at__lt=me.started_at).exists() or self.other_work()


def _look_seconds(*, listens: bool, lingers: bool) -> float:
    """How long a pump without work waits before it looks by itself."""
    if listens:
        return LISTENING_LOOK_SECONDS
    return LOOK_SECONDS if lingers else IDLE_LOOK_SECONDS
