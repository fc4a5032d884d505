# Two images: `airflow` is what a deployment runs, `sandbox` adds the stand-ins of docker-compose.yaml.
# The tag's Airflow is the one that requirements.txt pins, its Python one that the tests run on.
FROM apache/airflow:slim-3.3.2-python3.11 AS airflow

COPY --chown=airflow:0 requirements.txt /tmp/requirements.txt
RUN pip install --no-cache-dir --require-hashes --requirement /tmp/requirements.txt

# dags/, plugins/ and include/ lie side by side: the package finds include/ from plugins/.
COPY --chown=airflow:0 dags /opt/airflow/dags
COPY --chown=airflow:0 plugins /opt/airflow/plugins
COPY --chown=airflow:0 include /opt/airflow/include

# A named volume takes over the owner of the folder that it covers.
RUN mkdir -p /opt/airflow/auth /opt/airflow/logs && chmod 700 /opt/airflow/auth
USER airflow


FROM airflow AS sandbox

COPY --chown=airflow:0 requirements-dev.txt /tmp/requirements-dev.txt
RUN pip install --no-cache-dir --require-hashes --requirement /tmp/requirements-dev.txt

COPY --chown=airflow:0 sandbox /opt/airflow/sandbox
RUN mkdir -p /opt/airflow/.sandbox/smtp/mails
ENV PYTHONUNBUFFERED=1
WORKDIR /opt/airflow
ENTRYPOINT []
CMD ["python", "-m", "sandbox.containers"]
