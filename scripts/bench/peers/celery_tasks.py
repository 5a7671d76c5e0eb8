from celery import Celery
from common import URL, record_delay, record_now

app = Celery("bench", broker=URL)
app.conf.update(
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=64,
)


@app.task
def noop(body):
    record_now()


@app.task
def delay(sent_ns):
    record_delay(sent_ns)
