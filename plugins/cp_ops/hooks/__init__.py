"""Clients of outside systems, made from Airflow connections.

What can go wrong here: a request is repeated that has had its effect; a missing answer is taken for a refusal; a list that
broke off is taken for a short one; a secret or a person's data gets into an error; a node or an API blocks us for calling
too fast.

The principle: a client says exactly one of three things, and domains build on the difference. It happened, and here is
the answer. It certainly did not happen (`RemoteRefusedError`, or `RemoteUnavailableError` where nothing was sent). Nobody
knows (`RemoteConnectionLostError`); then the job asks for the outside system's truth before it acts again. So a read is
repeated here, and an effect only where the answer said that it did not happen.

Errors name a connection, a host or a bucket. They never name a path, a key of an object or a value.

Each client satisfies a small protocol of the domain that uses it; domains never import this package. No transaction is
opened here: `application_db` opens a connection, and the runtime does the rest.

Read `connections` (looking one up) and `rate_limit` (how fast, and how long to wait), then the client in question: `s3` and
`kms` over `aws`; `stripe_api` (the connection) and `stripe_client`; `json_rpc` and, on it, `solana_rpc`; `mail`; `secrets`;
`payment_webhook`.
"""
