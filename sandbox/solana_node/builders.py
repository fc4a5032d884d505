"""Builders for tests: accounts, mints and payments, all made by the programs' own instructions."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from solders.account import Account
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.system_program import CreateAccountParams, TransferParams, create_account, transfer
from solders.transaction import VersionedTransaction
from spl.token import instructions as spl
from spl.token import models
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID, WRAPPED_SOL_MINT

from sandbox.solana_node.accounts import RENT_EPOCH
from sandbox.solana_node.token_layout import ACCOUNT_SIZE, MINT_SIZE, parse_holding

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from solders.pubkey import Pubkey

    from sandbox.solana_node.chain import Chain
    from sandbox.solana_node.records import Landed

_TRANSFER_FEE_CONFIG_SIZE, _MINT_CLOSE_AUTHORITY_SIZE = 4 + 108, 4 + 32
_INITIALIZE_MINT_CLOSE_AUTHORITY = 25
_ATAS_PER_TRANSACTION = 8


def keypair(name: str) -> Keypair:
    """Return the keypair that belongs to `name`: the same name, the same key."""
    return Keypair.from_seed(hashlib.sha256(f"solana_node/{name}".encode()).digest())


@dataclass(frozen=True)
class Mint:
    """A mint and what it takes to use it; `transfer_fee` is (basis points, maximum minor units)."""

    address: Pubkey
    program: Pubkey
    decimals: int
    authority: Keypair
    freezable: bool = False
    transfer_fee: tuple[int, int] | None = None
    close_authority: Keypair | None = None

    def ata(self, owner: Pubkey) -> Pubkey:
        """Return `owner`'s associated token account of this mint."""
        return spl.get_associated_token_address(owner, self.address, self.program)


WRAPPED_SOL = Mint(WRAPPED_SOL_MINT, TOKEN_PROGRAM_ID, 9, keypair("nobody"))


class Builders:
    """Acts on the chain at once, beside the RPC: no preflight, no fault, no call counted.

    The `faucet` pays every fee and rent and is where payments come from, unless a payer is named.
    """

    def __init__(self, chain: Chain, faucet: Keypair) -> None:
        self._chain = chain
        self.faucet = faucet
        self._numbers = itertools.count()

    def run(self, instructions: Sequence[Instruction], signers: Sequence[Keypair] = ()) -> Landed:
        """Land one transaction paid by the faucet; raise RuntimeError if it fails."""
        with self._chain.lock:
            nonce = f"{len(self._chain.landed)}/{next(self._numbers)}"
            unique = Hash(hashlib.sha256(f"builders/{nonce}".encode()).digest())
            message = Message.new_with_blockhash(list(instructions), self.faucet.pubkey(), unique)
            every = {signer.pubkey(): signer for signer in (self.faucet, *signers)}
            return self._chain.run(VersionedTransaction(message, list(every.values())))

    def airdrop(self, address: Pubkey, lamports: int) -> Landed:
        """Give `address` lamports from the faucet."""
        return self.pay_sol(address, lamports)

    def pay_sol(self, to: Pubkey, lamports: int, *, payer: Keypair | None = None) -> Landed:
        """Transfer lamports from `payer`."""
        source = payer or self.faucet
        params = TransferParams(from_pubkey=source.pubkey(), to_pubkey=to, lamports=lamports)
        return self.run([transfer(params)], [source])

    def create_mint(
        self,
        *,
        decimals: int = 6,
        token_2022: bool = False,
        freezable: bool = False,
        transfer_fee: tuple[int, int] | None = None,
        close_authority: Keypair | None = None,
        address: Keypair | None = None,
    ) -> Mint:
        """Create a mint. `transfer_fee` (basis points, maximum) and `close_authority` need Token-2022."""
        if (transfer_fee or close_authority) and not token_2022:
            raise ValueError("transfer fees and close authorities exist in Token-2022 only")
        program = TOKEN_2022_PROGRAM_ID if token_2022 else TOKEN_PROGRAM_ID
        new, authority = address or Keypair(), self.faucet
        extensions, size = [], MINT_SIZE
        if transfer_fee or close_authority:
            size = ACCOUNT_SIZE + 1
        if transfer_fee:
            size += _TRANSFER_FEE_CONFIG_SIZE
            extensions.append(_transfer_fee_config(new.pubkey(), authority.pubkey(), *transfer_fee))
        if close_authority:
            size += _MINT_CLOSE_AUTHORITY_SIZE
            data = bytes([_INITIALIZE_MINT_CLOSE_AUTHORITY, 1]) + bytes(close_authority.pubkey())
            extensions.append(
                Instruction(program, data, [AccountMeta(new.pubkey(), is_signer=False, is_writable=True)])
            )
        settings = models.InitializeMint2Params(
            decimals=decimals,
            program_id=program,
            mint=new.pubkey(),
            mint_authority=authority.pubkey(),
            freeze_authority=authority.pubkey() if freezable else None,
        )
        self.run([self._create(new, size, program), *extensions, spl.initialize_mint2(settings)], [new])
        return Mint(new.pubkey(), program, decimals, authority, freezable, transfer_fee, close_authority)

    def create_atas(
        self, pairs: Iterable[tuple[Pubkey, Mint]], *, payer: Keypair | None = None
    ) -> list[Pubkey]:
        """Create the associated token accounts of (owner, mint) pairs, several in a transaction."""
        source, made, instructions = payer or self.faucet, [], []
        for owner, mint in pairs:
            made.append(mint.ata(owner))
            instructions.append(
                spl.create_idempotent_associated_token_account(
                    payer=source.pubkey(), owner=owner, mint=mint.address, token_program_id=mint.program
                )
            )
        for at in range(0, len(instructions), _ATAS_PER_TRANSACTION):
            self.run(instructions[at : at + _ATAS_PER_TRANSACTION], [source])
        return made

    def create_ata(self, owner: Pubkey, mint: Mint, *, payer: Keypair | None = None) -> Pubkey:
        """Create `owner`'s associated token account unless it exists."""
        return self.create_atas([(owner, mint)], payer=payer)[0]

    def create_token_account(self, owner: Pubkey, mint: Mint) -> Pubkey:
        """Create a token account of `owner` at an address of its own: not the associated one."""
        account = Keypair()
        size = ACCOUNT_SIZE
        if mint.transfer_fee:
            size += 1 + 4 + 8  # account type, then the TransferFeeAmount extension
        settings = models.InitializeAccount3Params(
            program_id=mint.program, account=account.pubkey(), mint=mint.address, owner=owner
        )
        self.run([self._create(account, size, mint.program), spl.initialize_account3(settings)], [account])
        return account.pubkey()

    def mint_to(self, mint: Mint, account: Pubkey, amount: int) -> Landed:
        """Mint `amount` minor units into a token account."""
        return self.run(
            [
                spl.mint_to(
                    models.MintToParams(
                        program_id=mint.program,
                        mint=mint.address,
                        dest=account,
                        mint_authority=mint.authority.pubkey(),
                        amount=amount,
                        signers=[],
                    )
                )
            ],
            [mint.authority],
        )

    def pay_tokens(self, to: Pubkey, mint: Mint, amount: int, *, payer: Keypair | None = None) -> Landed:
        """Pay an owner's associated account (or the token account `to`); mint what the payer lacks."""
        source = payer or self.faucet
        held = parse_holding(self._chain.svm.get_account(to))
        destination = to if held else self.create_ata(to, mint)
        own = self.create_ata(source.pubkey(), mint)
        holding = parse_holding(self._chain.svm.get_account(own))
        if holding is not None and holding.amount < amount:
            self.mint_to(mint, own, amount - holding.amount)
        return self.run([transfer_tokens(mint, own, destination, source.pubkey(), amount)], [source])

    def wrap_sol(self, owner: Pubkey, lamports: int) -> Pubkey:
        """Give `owner` wrapped SOL in its associated account."""
        account = self.create_ata(owner, WRAPPED_SOL)
        params = TransferParams(from_pubkey=self.faucet.pubkey(), to_pubkey=account, lamports=lamports)
        sync = spl.sync_native(models.SyncNativeParams(program_id=TOKEN_PROGRAM_ID, account=account))
        self.run([transfer(params), sync])
        return account

    def freeze(self, mint: Mint, account: Pubkey) -> Landed:
        """Freeze a token account."""
        freeze = models.FreezeAccountParams(
            program_id=mint.program, account=account, mint=mint.address, authority=mint.authority.pubkey()
        )
        return self.run([spl.freeze_account(freeze)], [mint.authority])

    def thaw(self, mint: Mint, account: Pubkey) -> Landed:
        """Thaw a frozen token account."""
        thaw = models.ThawAccountParams(
            program_id=mint.program, account=account, mint=mint.address, authority=mint.authority.pubkey()
        )
        return self.run([spl.thaw_account(thaw)], [mint.authority])

    def close_account(self, mint: Mint, account: Pubkey, owner: Keypair, destination: Pubkey) -> Landed:
        """Close an empty token account; its rent goes to `destination`."""
        return self.run([close_token_account(mint, account, owner.pubkey(), destination)], [owner])

    def close_mint(self, mint: Mint, destination: Pubkey) -> Landed:
        """Close a mint without supply by its close authority."""
        if mint.close_authority is None:
            raise ValueError("this mint has no close authority")
        owner = mint.close_authority
        return self.run([close_token_account(mint, mint.address, owner.pubkey(), destination)], [owner])

    def set_account(self, address: Pubkey, lamports: int, *, data: bytes = b"", owner: Pubkey) -> None:
        """Write an account that no instruction makes; the ledger counts its lamports as issued."""
        account = Account(lamports, data, owner, executable=False, rent_epoch=RENT_EPOCH)
        self._chain.put_account(address, account)

    def _create(self, account: Keypair, space: int, owner: Pubkey) -> Instruction:
        rent = self._chain.svm.minimum_balance_for_rent_exemption(space)
        params = CreateAccountParams(
            from_pubkey=self.faucet.pubkey(),
            to_pubkey=account.pubkey(),
            lamports=rent,
            space=space,
            owner=owner,
        )
        return create_account(params)


def transfer_tokens(
    mint: Mint, source: Pubkey, destination: Pubkey, owner: Pubkey, amount: int
) -> Instruction:
    """Return transferChecked between two token accounts."""
    params = models.TransferCheckedParams(
        program_id=mint.program,
        source=source,
        mint=mint.address,
        dest=destination,
        owner=owner,
        amount=amount,
        decimals=mint.decimals,
        signers=[],
    )
    return spl.transfer_checked(params)


def close_token_account(mint: Mint, account: Pubkey, owner: Pubkey, destination: Pubkey) -> Instruction:
    """Return closeAccount for a token account (or a mint)."""
    params = models.CloseAccountParams(
        program_id=mint.program, account=account, dest=destination, owner=owner, signers=[]
    )
    return spl.close_account(params)


def _transfer_fee_config(mint: Pubkey, authority: Pubkey, basis_points: int, maximum: int) -> Instruction:
    params = models.InitializeTransferFeeConfigParams(
        program_id=TOKEN_2022_PROGRAM_ID,
        mint=mint,
        transfer_fee_config_authority=authority,
        withdraw_withheld_authority=authority,
        transfer_fee_basis_points=basis_points,
        maximum_fee=maximum,
    )
    return spl.initialize_transfer_fee_config(params)
