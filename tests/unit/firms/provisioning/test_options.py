"""Options of provision_firm: each wrong value has a message of its own."""

from __future__ import annotations

import pytest

from cp_ops.firms.provisioning.options import ProvisionFirmOptions
from cp_ops.runtime.errors import OptionsError

GOOD = {"name": "Acme Consulting", "slug": "acme-consulting", "admin_email": "Robin@Example.COM"}


def test_the_defaults_are_the_documented_ones():
    options = ProvisionFirmOptions.parse(GOOD)
    assert (options.timezone, options.currency, options.tier) == ("UTC", "USD", "professional")
    assert (options.max_users, options.max_clients, options.max_storage_gb) == (5, 25, 10)
    assert options.invite
    assert not options.adopt_existing_user


def test_the_address_keeps_its_local_part_and_the_user_name_is_lower_case():
    options = ProvisionFirmOptions.parse(GOOD)
    assert options.admin_email == "Robin@example.com"
    assert options.username == "robin@example.com"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"slug": "Acme Consulting"}, r"^slug: must be lower-case letters and digits"),
        ({"slug": "acme--consulting"}, r"^slug: must be"),
        ({"slug": "-acme"}, r"^slug: must be"),
        ({"slug": "acme\n"}, r"^slug: must be"),
        ({"slug": ""}, r"^slug: must be"),
        ({"timezone": "Mars/Olympus"}, r"^timezone: 'Mars/Olympus' is not an IANA time zone"),
        ({"timezone": "../etc/passwd"}, r"^timezone: .* is not an IANA time zone"),
        ({"timezone": "EST5EDT7"}, r"^timezone: .* is not an IANA time zone"),
        ({"currency": "BTC"}, r"^currency: 'BTC' is not a current ISO 4217 code"),
        ({"currency": "usd"}, r"^currency: 'usd' is not a current ISO 4217 code in capitals"),
        ({"tier": "gold"}, r"^tier: input should be 'starter', 'professional' or 'enterprise'"),
        ({"admin_email": "robin"}, r"^admin_email: is not an e-mail address"),
        ({"admin_email": "robin@localhost"}, r"^admin_email: has no valid domain"),
        ({"admin_email": "ro bin@example.com"}, r"^admin_email: is not an e-mail address"),
        ({"admin_email": "a@example.com, b@example.com"}, r"^admin_email: is not an e-mail address"),
        ({"admin_email": "a@example.com\nBcc: b@example.com"}, r"^admin_email: "),
        (
            {"admin_email": f"robin@{'a' * 60}.{'b' * 60}.{'c' * 60}.example"},
            r"^admin_email: is longer than 150",
        ),
        ({"name": "  Acme\r\nBcc: x"}, r"^name: must be a single line"),
        ({"name": ""}, r"^name: string should have at least 1 character"),
        ({"max_users": 0}, r"^max_users: input should be greater than or equal to 1"),
        (
            {"admin_password_ref": "Sup3r secret!"},
            r"^admin_password_ref: is not the id of an Airflow connection",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(wrong, message):
    with pytest.raises(OptionsError, match=message):
        ProvisionFirmOptions.parse({**GOOD, **wrong})


@pytest.mark.parametrize(
    "field", ["admin_password", "Admin_Password", "adminPassword", "client_secret", "api_key", "token"]
)
def test_a_secret_in_the_configuration_is_refused_at_once_with_the_way_to_do_it(field):
    """A trap: Airflow stores the value. Also when everything else is wrong, too."""
    with pytest.raises(OptionsError) as raised:
        ProvisionFirmOptions.parse({"name": 1, "slug": "?", field: "hunter2-canary"})
    message = str(raised.value)
    assert message.startswith(f"{field}: a secret is never passed to a run")
    assert "Delete this run now" in message
    assert "admin_password_ref" in message
    assert "hunter2-canary" not in message


def test_a_password_typed_into_the_reference_is_not_quoted():
    with pytest.raises(OptionsError) as raised:
        ProvisionFirmOptions.parse({**GOOD, "admin_password_ref": "correct horse battery"})
    assert "correct" not in str(raised.value)


def test_the_record_of_the_run_keeps_nothing_about_the_administrator():
    options = ProvisionFirmOptions.parse(
        {**GOOD, "admin_first_name": "Robin", "admin_password_ref": "acme_admin"}
    )
    recorded = options.recorded()
    assert {name for name in ProvisionFirmOptions.model_fields if name.startswith("admin_")} & set(
        recorded
    ) == set()
    assert recorded["slug"] == "acme-consulting"


def test_the_form_shows_every_option_without_asking_for_a_secret():
    schemas = ProvisionFirmOptions.param_schemas()
    assert list(schemas)[-1] == "dry_run"
    assert "personal" not in schemas["admin_email"]
    assert "pattern" not in schemas["admin_password_ref"], "Airflow's own message would quote the value"
    assert schemas["tier"]["enum"] == ["starter", "professional", "enterprise"]
