from celery_tasks import app, delay, noop
from common import CONCURRENCY, OPTIONS, main, send_apart_blocking


def fill(bodies):
    with app.producer_pool.acquire(block=True) as producer:
        for body in bodies:
            noop.apply_async((body,), producer=producer)


def drip(count):
    with app.producer_pool.acquire(block=True) as producer:
        send_apart_blocking(count, lambda sent_ns: delay.apply_async((sent_ns,), producer=producer))


def worker():
    pool = ["-P", OPTIONS["pool"], "-c", str(CONCURRENCY)]
    app.worker_main(["worker", *pool, "--loglevel", "ERROR", "--without-gossip", "--without-mingle"])


if __name__ == "__main__":
    main(worker, fill=fill, drip=drip)
