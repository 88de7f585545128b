"""Whose account it is in Open WebUI, and whether NanoGPT has rejected its key.

Only columns that may be empty: the previous release writes rows without them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("accounts", sa.Column("bound_id", sa.String(255)))
    op.add_column("accounts", sa.Column("key_rejected_at", sa.DateTime(timezone=True)))
    op.create_index("accounts_bound_id", "accounts", ["bound_id"], unique=True)
