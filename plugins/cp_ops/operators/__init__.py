"""Where Airflow begins: an operator per command, a module per domain.

What can go wrong here: a DAG file that drags every domain and driver into Airflow's DAG processor, which parses all files
again and again; an operator that keeps something on itself, so that one attempt sees what another left; a task that
succeeds though a row failed.

The principle: an operator translates and decides nothing. It turns params into options, connections into clients, the
outcome into XCom, and the package's errors into Airflow's. What a run is and does is the job's and the runtime's business.

- An operator names its job as text. `JobOperator.execute` resolves it, and hooks are imported where clients are made, in
  `build`. So parsing costs the options only.
- The database is opened, and the transactions are, in `cp_ops.runtime.runner`; none is opened here.
- The outcome is pushed before anything else follows from it, whether the job ended well or not.

Read `dags` (what all DAGs share), `base` (the path of a task), `task` (what only a task needs), then any domain's
module. `outcomes` reads what an earlier task of the run left, `alerts` tells people of a failure, `links` leads to the page.
"""
