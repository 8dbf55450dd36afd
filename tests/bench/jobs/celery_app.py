"""Long work over HTTP as most services do it today: FastAPI hands it to Celery, whose result backend is Redis.

As the documentation of both says for production: results kept, late acks so that a killed worker loses nothing, publisher confirms and a
quorum queue on RabbitMQ, a prefetch for short tasks.
"""

import os

from celery import Celery
from fastapi import FastAPI
from pydantic import BaseModel

broker = os.environ["BROKER_URL"]
celery = Celery("celery_app", broker=broker, backend=os.environ["RESULT_URL"])
celery.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_default_queue="work",
    worker_prefetch_multiplier=64,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    result_expires=86400,
)
if broker.startswith("amqp"):
    celery.conf.update(task_default_queue_type="quorum", broker_transport_options={"confirm_publish": True})


@celery.task(name="noop")
def noop() -> None:
    return None


class Submit(BaseModel):
    task: str


app = FastAPI(openapi_url=None)


@app.post("/longtask", status_code=202)
def submit(job: Submit) -> dict[str, str]:
    sent = celery.send_task(job.task)
    return {"job_id": sent.id, "status": "queued"}
