-- What was the balance of each asset at the end of each day?
--
-- balance_history(asset, asset_class, day, balance)
--
-- One row for each UTC day with an entry: the balance after its last one. Entries of the same time are in the order in
-- which they lead from one balance to the next, which account_order has.

CREATE OR REPLACE VIEW balance_history AS
SELECT l.asset, l.asset_class, l.time::DATE AS day, arg_max(l.balance, o.position) AS balance
FROM account_ledger AS l
JOIN account_order AS o USING (id)
GROUP BY ALL;
