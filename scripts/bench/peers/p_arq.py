import asyncio

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker
from common import CONCURRENCY, HOST, OPTIONS, PORT, main, record_delay, record_now, send_apart

SERVER = RedisSettings(host=HOST, port=PORT)


async def noop(ctx, body):
    record_now()


async def delay(ctx, sent_ns):
    record_delay(sent_ns)


async def fill(bodies):
    pool = await create_pool(SERVER)
    for body in bodies:
        await pool.enqueue_job("noop", body)


async def drip(count):
    pool = await create_pool(SERVER)
    await send_apart(count, lambda sent_ns: pool.enqueue_job("delay", sent_ns))


def worker():
    async def work():
        settings = {"poll_delay": OPTIONS["poll_delay"]} if "poll_delay" in OPTIONS else {}
        await Worker(
            [noop, delay], redis_settings=SERVER, max_jobs=CONCURRENCY, handle_signals=False, **settings
        ).async_run()

    asyncio.run(work())


main(worker, fill=fill, drip=drip)
