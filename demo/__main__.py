"""`python -m demo [--keep]`. Exit status 0 only if everything that the demo shows is true."""

# Nothing else is imported before the signals are in hand: the rest takes half a second.
import sys

from demo.interrupt import Interrupt, Interrupted


def main() -> int:
    interrupt = Interrupt()
    interrupt.listen()
    import argparse  # noqa: PLC0415 see above

    parser = argparse.ArgumentParser(
        prog="demo", description="The whole pipeline on this machine, around an emulated AWS."
    )
    parser.add_argument("--keep", action="store_true", help="leave it all running afterwards, to play with")
    keep: bool = parser.parse_args().keep
    from demo.show import show  # noqa: PLC0415 see above

    try:
        return show(interrupt, sys.stdout, keep=keep)
    except Interrupted as interrupted:
        print(f"\n{interrupted}: everything is cleaned up", file=sys.stderr)
        return interrupted.status


if __name__ == "__main__":
    sys.exit(main())
