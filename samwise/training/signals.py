"""What becomes of a training that a signal stopped (samwise/running/stopping.py): its status, its queue."""

from __future__ import annotations

import signal

from samwise.training.distributed import wait_for_main


class Interrupted(Exception):
    """Training was stopped by a signal, after saving.

    Attributes:
        signal: The signal's number.
        exit_status: 128 + its number, as shells have it.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.signal = number
        self.exit_status = 128 + number

    def hand_on(self) -> None:
        """Lets submitit put the job back into the queue, where it is submitit's signal and there is submitit.

        Its handler, installed before training began, does nothing in processes above 0; in process 0 it calls
        ``checkpoint()``, requeues the job and exits. The others wait for that: where the end of one task is
        that of all (``KillOnBadExit``), theirs must not come first.
        """
        handler = signal.getsignal(self.signal)
        if self.signal in (signal.SIGUSR1, signal.SIGUSR2) and callable(handler):
            try:
                handler(self.signal, None)
            finally:
                wait_for_main()
