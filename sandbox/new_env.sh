#!/bin/sh
# Print .env.example with a random value for every variable that is empty there: sh sandbox/new_env.sh > .env
# A value is 32 random bytes in URL-safe base64, which is also the form of a Fernet key.
set -eu
cd "$(dirname "$0")/.."
while IFS= read -r line; do
    case $line in
        \#*) printf '%s\n' "$line" ;;
        *=) printf '%s%s\n' "$line" "$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')" ;;
        *) printf '%s\n' "$line" ;;
    esac
done < .env.example
