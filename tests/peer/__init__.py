"""django-solana-payments, the module that owns the payment tables, in an environment of its own."""
