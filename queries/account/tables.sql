-- The stored rows of an account, each table as one view; recorder.connect_account() sets the lists of files.
--
-- account_ledger: one row for each change of a balance; balance = the one before + amount - fee
-- account_trades: own fills; (pair, trade_id) is the public trade
-- account_orders: closed orders; time is when one was closed
-- account_balances: what all balances were at a time; settled where no entry came meanwhile
-- account_apart: entries that could not be stored as rows, as received

CREATE OR REPLACE VIEW account_ledger AS
FROM read_parquet(getvariable('account_ledger'), hive_partitioning = false);

CREATE OR REPLACE VIEW account_trades AS
FROM read_parquet(getvariable('account_trades'), hive_partitioning = false);

CREATE OR REPLACE VIEW account_orders AS
FROM read_parquet(getvariable('account_orders'), hive_partitioning = false);

CREATE OR REPLACE VIEW account_balances AS
FROM read_parquet(getvariable('account_balances'), hive_partitioning = false);

CREATE OR REPLACE VIEW account_apart AS
FROM read_parquet(getvariable('account_apart'), hive_partitioning = false);

CREATE OR REPLACE VIEW account_events AS
SELECT time, kind, detail
FROM read_parquet(getvariable('events'), hive_partitioning = false);
