"""Many calls from asyncio: sent together, gathered in the order in which they finish.

In one terminal:   kernel worker fan_out.py --pool asyncio
In another:        python fan_out.py 100
"""

import asyncio
import sys

from kernel import Kernel

app = Kernel("fan_out")


@app.task
async def look_up(number: int) -> tuple[int, int]:
    """Stands for a request to a slow service; the asyncio pool runs many of them at a time."""
    await asyncio.sleep(0.001 * (number % 10))
    return number, number * number


async def main(count: int) -> None:
    """Send all, then take results as they come."""
    # Calls made at the same time travel to the broker together.
    results = await asyncio.gather(*(look_up.adelay(number) for number in range(count)))
    total = 0
    async for result in app.as_completed(results, timeout=60):
        _, square = await result.aget()
        total += square
    print(f"{count} look-ups, sum of squares {total}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
