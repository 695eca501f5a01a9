#!/bin/sh
curl -X POST "${GLANCE_URL:-http://127.0.0.1:3000}/api/status/main/0/3"
