"""One-time Solana wallets: accept, expire, sweep and close, decided from the chain and the payment rows together."""
