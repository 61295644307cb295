"""All faults, in the order of the table in docs/reliability.md."""

from tests.faults.base import Fault, Field
from tests.faults.clients import CLIENTS
from tests.faults.clock import CLOCK
from tests.faults.ends import ENDS
from tests.faults.locks import LOCKS
from tests.faults.network import NETWORK
from tests.faults.round import CALM
from tests.faults.servers import SERVERS
from tests.faults.sqlite_files import SQLITE_FILES


async def nothing(on: Field) -> None:
    """So that a finding under a fault can be told from one without."""
    await on.crowd()
    on.struck()


FAULTS: tuple[Fault, ...] = (
    Fault(name=CALM, what="nothing strikes: what a calm round shows", product="any", strike=nothing, least=1),
    *NETWORK,
    *SERVERS,
    *LOCKS,
    *CLIENTS,
    *ENDS,
    *SQLITE_FILES,
    *CLOCK,
)
