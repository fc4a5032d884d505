"""Passwords: Django 4.2 itself says whether ours are its own."""

from __future__ import annotations

import gzip
from pathlib import Path

import django
import pytest
from django.conf import settings
from django.contrib.auth import hashers
from django.contrib.auth import password_validation as validation
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.firms.provisioning.passwords import common_passwords, hash_password, unusable_password, weaknesses

if not settings.configured:
    settings.configure(USE_I18N=False, INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"])
    django.setup()

from django.contrib.auth.models import User

GOOD = "correct horse battery staple 9"


class Person:
    username = "robin.finch@acme-consulting.example"
    first_name = "Robin"
    last_name = "Finch-Hatton"
    email = "robin.finch@acme-consulting.example"
    _meta = User._meta


ABOUT = (Person.username, Person.first_name, Person.last_name, Person.email)
VALIDATORS = (
    validation.MinimumLengthValidator(min_length=12),
    validation.UserAttributeSimilarityValidator(),
    validation.CommonPasswordValidator(),
    validation.NumericPasswordValidator(),
)


def django_refuses(password):
    refusals = 0
    for validator in VALIDATORS:
        try:
            validator.validate(password, Person())
        except validation.ValidationError:
            refusals += 1
    return refusals


def test_this_is_the_version_that_the_application_runs_on():
    assert django.VERSION[:2] == (4, 2)


def test_django_accepts_our_hash_and_would_not_make_it_stronger():
    encoded = hash_password(GOOD)
    upgrades = []
    assert hashers.check_password(GOOD, encoded, setter=upgrades.append)
    assert not hashers.check_password(GOOD + "x", encoded)
    assert upgrades == []
    assert hashers.identify_hasher(encoded).algorithm == "pbkdf2_sha256"
    assert not hashers.get_hasher().must_update(encoded)
    assert len(encoded) <= 128


def test_no_two_hashes_of_a_password_are_the_same():
    assert hash_password(GOOD) != hash_password(GOOD)


def test_django_sees_that_an_unusable_password_is_one():
    encoded = unusable_password()
    assert len(encoded) == 41
    assert not hashers.is_password_usable(encoded)
    assert not hashers.check_password("", encoded)


def test_our_list_of_common_passwords_is_djangos():
    path = Path(validation.__file__).parent / "common-passwords.txt.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        assert common_passwords() == {line.strip() for line in lines}


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short-12345", "shorter than 12"),
        ("Robin.Finch@acme-consulting", "too similar"),
        ("finch-hatton1", "too similar"),
        ("startfinding", "most common"),
        ("STARTFINDING", "most common"),
        ("739184620571", "all digits"),
    ],
)
def test_what_the_application_would_refuse_is_refused_with_the_reason(password, why):
    problems = weaknesses(password, ABOUT)
    assert any(why in problem for problem in problems)
    assert all(password not in problem for problem in problems)
    assert django_refuses(password)


def test_a_good_password_has_no_weakness():
    assert weaknesses(GOOD, ABOUT) == []
    assert django_refuses(GOOD) == 0


NEAR = st.sampled_from([*ABOUT, "startfinding", "finch", "acme-consulting", "robin1234567", "12345678901234"])


@given(st.one_of(st.text(max_size=40), st.builds("{}{}".format, NEAR, st.text("ab1-.@", max_size=12)), NEAR))
def test_we_refuse_for_exactly_as_many_reasons_as_django(password):
    assert len(weaknesses(password, ABOUT)) == django_refuses(password)
