-- The table that is measured: 13 columns, about 200 bytes a row.
CREATE TABLE orders (
	id bigint PRIMARY KEY,
	customer_id int NOT NULL,
	status text NOT NULL,
	amount numeric(12,2) NOT NULL,
	tax numeric(12,2),
	currency char(3) NOT NULL,
	quantity int NOT NULL,
	is_gift boolean NOT NULL,
	note text,
	attrs jsonb,
	score double precision,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL
);

CREATE FUNCTION make_orders(a bigint, b bigint) RETURNS SETOF orders LANGUAGE sql VOLATILE AS $$
	SELECT i, (i*7919 % 1000003)::int, (array['new','paid','shipped','delivered','cancelled'])[1+(i%5)::int],
		((i*37 % 1000000)/100.0)::numeric(12,2), ((i*3 % 10000)/100.0)::numeric(12,2), (array['USD','EUR','GBP'])[1+(i%3)::int],
		(i%20)::int, i%7=0, 'order note '||md5(i::text)||' '||substr(md5((i*2)::text),1,12),
		jsonb_build_object('sku','SKU-'||(i%5000),'channel',(array['web','app','pos'])[1+(i%3)::int],'tags',jsonb_build_array('a'||(i%10),'b'||(i%17))),
		(i%1000)/7.0::float8, timestamptz '2025-01-01' + (i%31536000)*interval '1 second', timestamptz '2025-06-01' + (i%31536000)*interval '1 second'
	FROM generate_series(a, b) i
$$;

-- Backlog makes 2,000 changes a step, in transactions of 1,000: inserts behind the
-- newest row, then updates of the oldest ones, or at every tenth step their deletion.
CREATE PROCEDURE backlog(rows bigint, steps int) LANGUAGE plpgsql AS $$
DECLARE b bigint;
BEGIN
	FOR i IN 1..steps LOOP
		b := (i-1)*1000;
		INSERT INTO orders SELECT * FROM make_orders(rows+b+1, rows+b+1000);
		COMMIT;
		IF i % 10 <> 0 THEN
			UPDATE orders SET status='updated', amount=amount+1, updated_at=now(), attrs=attrs||'{"v":2}'::jsonb WHERE id > b AND id <= b+1000;
		ELSE
			DELETE FROM orders WHERE id > b AND id <= b+1000;
		END IF;
		COMMIT;
	END LOOP;
END $$;
