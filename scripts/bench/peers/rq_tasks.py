from common import record_delay, record_now


def noop(body):
    record_now()


def delay(sent_ns):
    record_delay(sent_ns)
