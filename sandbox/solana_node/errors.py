"""JSON-RPC errors in the words of a real node (agave `custom_error.rs` and `rpc.rs`)."""

from __future__ import annotations

from typing import Any

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
PREFLIGHT_FAILURE = -32002
SIGNATURE_VERIFICATION_FAILURE = -32003
NODE_UNHEALTHY = -32005
UNSUPPORTED_TRANSACTION_VERSION = -32015
MIN_CONTEXT_SLOT_NOT_REACHED = -32016

# Display texts of TransactionError (solana-transaction-error); others are shown as a node shows Debug output.
_TRANSACTION_ERRORS = {
    "AccountNotFound": "Attempt to debit an account but found no record of a prior credit.",
    "AlreadyProcessed": "This transaction has already been processed",
    "BlockhashNotFound": "Blockhash not found",
    "InsufficientFundsForFee": "Insufficient funds for fee",
    "InvalidAccountForFee": "This account may not be used to pay transaction fees",
    "ProgramAccountNotFound": "Attempt to load a program that does not exist",
    "SanitizeFailure": "Transaction failed to sanitize accounts offsets correctly",
    "SignatureFailure": "Transaction did not pass signature verification",
}
_INSTRUCTION_ERRORS = {
    "IllegalOwner": "Provided owner is not allowed",
    "InsufficientFunds": "An account does not have enough lamports to cover its rent-exempt minimum",
    "InvalidAccountData": "invalid account data for instruction",
    "InvalidArgument": "invalid program argument",
    "InvalidInstructionData": "invalid instruction data",
    "MissingRequiredSignature": "missing required signature for instruction",
    "ComputationalBudgetExceeded": "Computational budget exceeded",
    "UninitializedAccount": "instruction requires an initialized account",
    "IncorrectProgramId": "incorrect program id for instruction",
    "InvalidAccountOwner": "Invalid account owner",
}


class RpcError(Exception):
    """An answer with `error` instead of `result`."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.data = data

    def to_json(self) -> dict[str, Any]:
        """Return the `error` member; `data` is left out when there is none, as a node does."""
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.data is not None:
            body["data"] = self.data
        return body


def invalid_params(detail: str) -> RpcError:
    """Return the error for parameters that a node refuses."""
    return RpcError(INVALID_PARAMS, detail)


def describe_transaction_error(err: Any) -> str:
    """Return the sentence that a node puts after `Transaction simulation failed: `."""
    if isinstance(err, str):
        return _TRANSACTION_ERRORS.get(err, err)
    if "InstructionError" in err:
        index, cause = err["InstructionError"]
        if isinstance(cause, dict) and "Custom" in cause:
            return f"Error processing Instruction {index}: custom program error: {cause['Custom']:#x}"
        return f"Error processing Instruction {index}: {_INSTRUCTION_ERRORS.get(str(cause), cause)}"
    if "InsufficientFundsForRent" in err:
        index = err["InsufficientFundsForRent"]["account_index"]
        return f"Transaction results in an account ({index}) with insufficient funds for rent"
    return str(err)
