"""The life of a run: what it holds, what it writes, what stops it, and what it leaves behind.

- `locks`: one run at a time holds an output; whoever comes second is told who does.
- `outputs`: results are written whole or not at all, in the file system that they are for.
- `interrupts`: what asks a program to end is Ctrl-C to it.
- `workers`: processes that end with the block that uses them, and with their parent.

Commands and the functions that run for a while share it. It knows nothing of mathematics.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
