import asyncio

from bullmq import Queue, Worker
from common import CONCURRENCY, HOST, PORT, main, record_delay, record_now, send_apart

SERVER = {"connection": {"host": HOST, "port": PORT}}


async def process(job, token):
    if job.name == "noop":
        record_now()
    else:
        record_delay(job.data["sent_ns"])


async def fill(bodies):
    queue = Queue("bench", SERVER)
    for start in range(0, len(bodies), 1000):
        piece = bodies[start : start + 1000]
        await queue.addBulk([{"name": "noop", "data": {"body": body}} for body in piece])
    await queue.close()


async def drip(count):
    queue = Queue("bench", SERVER)
    await send_apart(count, lambda sent_ns: queue.add("delay", {"sent_ns": sent_ns}))
    await queue.close()


def worker():
    async def work():
        Worker("bench", process, {**SERVER, "concurrency": CONCURRENCY})
        await asyncio.Event().wait()

    asyncio.run(work())


main(worker, fill=fill, drip=drip)
