-- What came into the account, and what left it?
--
-- transfers(id, time, type, subtype, asset, amount, fee, balance, refid, is_reversed)
--
-- Deposits, withdrawals, and transfers from or to other products of Kraken. is_reversed is whether another entry with
-- the same refid, type and asset takes the amount back.

CREATE OR REPLACE VIEW transfers AS
SELECT
    id, time, type, subtype, asset, amount, fee, balance, refid,
    sum(amount) OVER same = 0 AND count(*) OVER same > 1 AS is_reversed
FROM account_ledger
WHERE type IN ('deposit', 'withdrawal', 'transfer')
WINDOW same AS (PARTITION BY refid, type, asset);
