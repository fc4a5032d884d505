"""The control API: what an in-process test does with `node`, as POST /_sandbox/<verb> with a JSON object.

Answers are JSON; a bad request is status 400 with {"error": ...}. GET /_sandbox/ lists the verbs.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from sandbox.solana_node.builders import Mint, keypair
from sandbox.solana_node.clock import CommitmentDelays
from sandbox.solana_node.ledger import ConservationError
from sandbox.solana_node.limits import RateLimits
from sandbox.solana_node.responses import json_response
from sandbox.solana_node.token_layout import parse_mint

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from sandbox.solana_node.state import NodeState

Body = dict[str, Any]


def _status(node: NodeState, _body: Body) -> Body:
    """Tell the clock, the faucet and what has happened."""
    return {
        "slot": node.clock.slot(),
        "block_height": node.clock.height(node.clock.slot()),
        "unix_time": node.clock.unix_time,
        "mode": node.clock.mode,
        "faucet": str(node.faucet.pubkey()),
        "transactions": len(node.chain.landed),
        "underway": len(node.chain.underway),
        "calls": node.calls.total,
    }


def _advance(node: NodeState, body: Body) -> Body:
    """{slots} and/or {seconds}: move the clock forward and land what is due."""
    node.clock.advance_slots(int(body.get("slots", 0)))
    node.clock.advance_seconds(float(body.get("seconds", 0)))
    node.chain.tick()
    return _status(node, body)


def _time(node: NodeState, body: Body) -> Body:
    """{unix_time}: set the UTC time of the next blocks."""
    node.clock.set_unix_time(float(body["unix_time"]))
    return _status(node, body)


def _commitment(node: NodeState, body: Body) -> Body:
    """Set {processed, confirmed, finalized}: the seconds that each takes."""
    node.chain.set_delays(CommitmentDelays(**body))
    return asdict(node.clock.delays)


def _settings(node: NodeState, body: Body) -> Body:
    """{latency, prioritization_fee, slots_behind}: any of them."""
    known = {"latency": float, "prioritization_fee": int, "slots_behind": int}
    for name, value in body.items():
        setattr(node, name, known[name](value))
    return {name: getattr(node, name) for name in known}


def _limits(node: NodeState, body: Body) -> Body:
    """Set {calls, per_method, window, answer}: rate limits; an empty object takes them off."""
    node.limits = RateLimits(**body)
    return {"calls": node.limits.calls, "per_method": node.limits.per_method, "window": node.limits.window}


def _fault(node: NodeState, body: Body) -> Body:
    """{kind, method, count, skip, ...}: inject a fault; the answer has its number."""
    return asdict(node.faults.add(**body))


def _faults(node: NodeState, _body: Body) -> Body:
    """List the faults with their hits."""
    return {"faults": [asdict(fault) for fault in node.faults]}


def _clear_faults(node: NodeState, body: Body) -> Body:
    """Take out fault {number}, or all."""
    if "number" in body:
        node.faults.remove(int(body["number"]))
    else:
        node.faults.clear()
    return _faults(node, body)


def _release_held(node: NodeState, _body: Body) -> Body:
    """Land the held transactions that still can."""
    return {"released": node.chain.release_held()}


def _calls(node: NodeState, body: Body) -> Body:
    """{reset: true}: the counters, before they are reset."""
    counted = node.calls.to_json()
    if body.get("reset"):
        node.calls.reset()
    return counted


def _ledger(node: NodeState, body: Body) -> Body:
    """{since}: the sum of all movements from entry `since` on, and whether everything is conserved."""
    try:
        node.chain.ledger.check()
        problem = None
    except ConservationError as error:
        problem = str(error)
    moved = node.chain.ledger.movements(int(body.get("since", 0)))
    return {
        "conserved": problem is None,
        "problem": problem,
        "entries": len(node.chain.ledger.entries),
        "transactions": moved.transactions,
        "failed": moved.failed,
        "fees": moved.fees,
        "lamports": moved.lamports,
        "tokens": [{"mint": mint, "owner": owner, "change": n} for (mint, owner), n in moved.tokens.items()],
        "discarded": [asdict(tx) for tx in node.chain.discarded],
    }


def _pay_sol(node: NodeState, body: Body) -> Body:
    """{to, lamports}: pay from the faucet."""
    landed = node.build.pay_sol(Pubkey.from_string(body["to"]), int(body["lamports"]))
    return {"signature": landed.signature}


def _create_mint(node: NodeState, body: Body) -> Body:
    """{decimals, token_2022, freezable, transfer_fee, name}: make a mint; a name fixes its address."""
    options = dict(body)
    name = options.pop("name", None)
    fee = options.pop("transfer_fee", None)
    address = keypair(f"mint/{name}") if name else Keypair()
    if node.chain.svm.get_account(address.pubkey()) is None:
        node.build.create_mint(**options, transfer_fee=tuple(fee) if fee else None, address=address)
    mint = _mint(node, str(address.pubkey()))
    return {"address": str(mint.address), "program": str(mint.program), "decimals": mint.decimals}


def _create_token_accounts(node: NodeState, body: Body) -> Body:
    """{owners, mints}: create the associated account of every owner and mint."""
    mints = [_mint(node, address) for address in body["mints"]]
    pairs = [(Pubkey.from_string(owner), mint) for owner in body["owners"] for mint in mints]
    return {"accounts": [str(address) for address in node.build.create_atas(pairs)]}


def _pay_tokens(node: NodeState, body: Body) -> Body:
    """{to, mint, amount}: pay minor units from the faucet to an owner or a token account."""
    landed = node.build.pay_tokens(
        Pubkey.from_string(body["to"]), _mint(node, body["mint"]), int(body["amount"])
    )
    return {"signature": landed.signature}


def _freeze(node: NodeState, body: Body) -> Body:
    """{mint, account}: freeze a token account of a freezable mint."""
    landed = node.build.freeze(_mint(node, body["mint"]), Pubkey.from_string(body["account"]))
    return {"signature": landed.signature}


def _mint(node: NodeState, address: str) -> Mint:
    key = Pubkey.from_string(address)
    account = node.chain.svm.get_account(key)
    parsed = parse_mint(account)
    if account is None or parsed is None:
        raise ValueError(f"{address} is not a mint")
    return Mint(key, account.owner, parsed.decimals, node.faucet, parsed.freeze_authority is not None)


VERBS: dict[str, Callable[[NodeState, Body], Body]] = {
    "status": _status,
    "advance": _advance,
    "time": _time,
    "commitment": _commitment,
    "settings": _settings,
    "limits": _limits,
    "fault": _fault,
    "faults": _faults,
    "clear-faults": _clear_faults,
    "release-held": _release_held,
    "calls": _calls,
    "ledger": _ledger,
    "pay-sol": _pay_sol,
    "create-mint": _create_mint,
    "create-token-accounts": _create_token_accounts,
    "pay-tokens": _pay_tokens,
    "freeze": _freeze,
}


async def answer_control(node: NodeState, request: Request) -> Response:
    """Answer one request to the control API."""
    verb = request.path_params.get("verb", "")
    if not verb:
        return json_response({name: (act.__doc__ or "").strip() for name, act in VERBS.items()})
    act = VERBS.get(verb)
    if act is None:
        return json_response({"error": f"unknown verb {verb!r}"}, 404)
    try:
        body = dict(await request.json()) if await request.body() else {}
        with node.chain.lock:
            return json_response(act(node, body))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        return json_response({"error": f"{type(error).__name__}: {error}"}, 400)
