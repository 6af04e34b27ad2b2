"""Runs the migrations on the connection that storage/accounts.py hands over, inside its transaction."""

from alembic import context

from storage.account_models import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False)
context.run_migrations()
