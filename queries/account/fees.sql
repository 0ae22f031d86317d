-- What was paid in fees, by month and asset?
--
-- fees(month, asset, type, fee, entries)
--
-- From the ledger, which has the fee really deducted, and its asset. Months are UTC. A fee that was given back, as that
-- of a withdrawal that was reversed, is negative and counts in the month in which it came back.

CREATE OR REPLACE VIEW fees AS
SELECT date_trunc('month', time) AS month, asset, type, sum(fee) AS fee, count(*) AS entries
FROM account_ledger
WHERE fee <> 0
GROUP BY ALL;
