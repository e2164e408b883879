"""From gateways into the head-end, whatever way they come: this process, a broker, or the web application.

daemon in this process --DirectUplink--+
gateway --broker--> MqttReceiver ------+--> RemoteGateways.receiver --> head_end.ingest, jobs
gateway --HTTPS--> /gateways/NAME/reports --+
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import OmsError
from openmetering.interfaces.assembly.background import Background
from openmetering.interfaces.assembly.config import GatewayEntry, HostConfig
from openmetering.security import AddressPattern, parse_key
from openmetering.services.gatewayd.config import Config
from openmetering.services.gatewayd.daemon import GatewayDaemon, GatewayState, Sources
from openmetering.services.gatewayd.health import SourceState
from openmetering.services.gatewayd.messages import Report
from openmetering.services.gatewayd.mqtt import MqttReceiver
from openmetering.services.gatewayd.remote_gateways import RemoteGateways
from openmetering.services.gatewayd.stations import StationEvent
from openmetering.services.gatewayd.uplink import DirectUplink, read_secret
from openmetering.services.headend.headend import HeadEnd
from openmetering.services.headend.jobs.carriers import Carriers
from openmetering.transport.reception import Notice, Reception

__all__ = ["Build", "Receiving"]

_log = logging.getLogger(__name__)
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_FAREWELL = 15.0
Build = Callable[[Callable[[str, StationEvent], None]], Sources]


class _Online(msgspec.Struct, frozen=True):
    """All that a last will says."""

    online: bool


class Receiving:
    """All gateways of a head-end."""

    def __init__(
        self,
        config: HostConfig,
        head_end: HeadEnd,
        carriers: Carriers,
        ingest: Callable[[Sequence[Reception], str], object],
    ) -> None:
        """Raises InputError for secrets that cannot be read"""
        self._head_end = head_end
        self.gateways = RemoteGateways(ingest, on_report=self._reported, on_order=self._ordered)
        self.daemons: dict[str, GatewayDaemon] = {}
        self._states: dict[str, GatewayState] = {}
        self._running: list[Future[None]] = []
        self._serving: Future[None] | None = None
        self._background: Background | None = None
        self._config = config
        self.broker: MqttReceiver | None = None
        for entry in config.gateway:
            if entry.secret_file:
                secret = parse_key(read_secret(entry.secret_file, f"secret of {entry.name}"))
                carriers.add(self.gateways.carrier(entry.name, _serves(entry), secret))

    # -- gateways in this process ----------------------------------------------------------------------------

    def add(self, config: Config, build: Build, *, secret: bytes | None = None) -> GatewayDaemon:
        """A gateway in this process, before ``start``. Raises InputError, TransportError"""
        daemon = GatewayDaemon(
            config,
            build,
            uplink=DirectUplink(self.gateways.receiver.handle),
            clock=lambda: self._head_end.now().timestamp(),
            on_notice=_note,
            secret=secret,
        )
        self.daemons[config.gateway.name] = daemon
        return daemon

    # -- life ------------------------------------------------------------------------------------------------

    def start(self, background: Background) -> None:
        """Begin to receive."""
        self._background = background
        for name, daemon in self.daemons.items():
            self._running.append(background.run(f"gateway {name}", daemon.run))
        if self._config.receive is not None:
            self._serving = background.run("MQTT receiver", self._serve)

    async def _serve(self) -> None:
        assert self._config.receive is not None
        handle = self.gateways.receiver.handle
        self.broker = MqttReceiver(self._config.receive, handle, on_state=self._told_state)
        await self.broker.run()

    def stop(self) -> None:
        """Receive nothing more; what gateways in this process have is taken in first. Safe to call twice."""
        background = self._background
        if background is None:
            return
        for daemon in self.daemons.values():
            background.call(daemon.stop)
        for running in self._running:
            try:
                running.result(_FAREWELL)
            except TimeoutError:
                running.cancel()
            except Exception as error:
                _log.debug("a gateway had ended with %s", error)  # told when it happened
        if self._serving is not None:
            self._serving.cancel()

    # -- what is known of them --------------------------------------------------------------------------------

    def health(self) -> dict[str, str]:
        """What works, for people."""
        parts: dict[str, str] = {}
        if self._config.receive is not None:
            ready = self.broker is not None and self.broker.ready.is_set()
            parts["broker"] = "connected" if ready else "away"
        for name, daemon in self.daemons.items():
            state = daemon.state()
            failed = [source.name for source in state.sources if source.state == "failed"]
            parts[f"gateway {name}"] = f"{', '.join(failed)} failed" if failed else "runs"
        return parts

    def sources(self, gateway: str) -> tuple[SourceState, ...] | None:
        """The sources of a gateway as it told of them last; None if it never did."""
        daemon = self.daemons.get(gateway)
        if daemon is not None:
            return daemon.state().sources
        state = self._states.get(gateway)
        return None if state is None else state.sources

    def _reported(self, report: Report) -> None:
        self._head_end.gateway_seen(report.gateway)

    def _told_state(self, gateway: str, octets: bytes) -> None:
        """Health over the broker, or its last will."""
        try:
            online = msgspec.json.decode(octets, type=_Online).online
            if online:
                self._states[gateway] = msgspec.json.decode(octets, type=GatewayState)
        except msgspec.MsgspecError as error:
            _log.warning("gateway %s tells a state that cannot be read: %s", gateway, error)
            return
        try:
            self._head_end.gateway_seen(gateway, state="online" if online else "offline")
        except OmsError as error:
            _log.warning("gateway %s: %s", gateway, error.message)

    def _ordered(self, gateway: str) -> None:
        """Something new for a gateway: who hangs on the broker gets it now, others with their next report."""
        broker, background = self.broker, self._background
        if broker is None or background is None or not broker.ready.is_set():
            return

        async def send() -> None:
            try:
                await broker.send(gateway, self.gateways.receiver.reply(gateway))
            except OmsError as error:
                _log.info("orders of %s wait for its next report: %s", gateway, error.message)

        background.run(f"orders of {gateway}", send)


def _serves(entry: GatewayEntry) -> Callable[[Address], bool]:
    patterns = [AddressPattern.parse(text) for text in entry.serves]
    return lambda device: any(pattern.matches(device.link_octets()) for pattern in patterns)


def _note(notice: Notice) -> None:
    _log.log(_LEVELS.get(notice.level, logging.INFO), "%s: %s", notice.source, notice.message)
