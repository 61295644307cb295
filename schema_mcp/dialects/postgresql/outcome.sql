-- What became of a transaction whose answer to COMMIT was lost. $1: its mark.
--
-- The number of a transaction is its own only as long as the server keeps what it has assigned. After a crash it may be
-- given to another one, if nothing of the first had come to the disk: so a mark also says in which run of which server
-- the number was assigned, and when. After a crash "committed" is believed only if the recovery itself had met the
-- number, or a later one: then it was never given away again. "aborted" holds either way.

-- name: mark
-- What the transaction is known by, as the second column of `identity` in catalog.sql has it; null where nothing was
-- written.
select case when pg_catalog.pg_current_xact_id_if_assigned() is not null then pg_catalog.json_build_array(
    pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text,
    pg_catalog.pg_postmaster_start_time(), pg_catalog.statement_timestamp())::pg_catalog.text end

-- name: outcome
-- committed, aborted, in progress (ask again), recovered (committed, if `proof` says so too) or unknown. A backend that
-- crashes has the server start anew without a new start time; its statistics begin anew then. A server in recovery may
-- be a standby, and not have heard of it yet. What is not below xmax was not ended before a restart, so it never will.
with asked as (
    select ($1::pg_catalog.text::pg_catalog.json ->> 0)::pg_catalog.xid8 as id,
           pg_catalog.pg_postmaster_start_time() = ($1::pg_catalog.text::pg_catalog.json ->> 1)::pg_catalog.timestamptz
           and pg_catalog.pg_stat_get_bgwriter_stat_reset_time()
               < ($1::pg_catalog.text::pg_catalog.json ->> 2)::pg_catalog.timestamptz as same_run
)
select case
    when pg_catalog.pg_is_in_recovery() then 'in progress'
    when same_run then coalesce(pg_catalog.pg_xact_status(id), 'unknown')
    when id >= pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) then 'aborted'
    else case pg_catalog.pg_xact_status(id)
        when 'committed' then 'recovered'
        when 'aborted' then 'aborted'
        when 'in progress' then 'aborted'
        else 'unknown'
    end
end
from asked

-- name: proof
-- A row if the last checkpoint is the one that ends a recovery (or a shutdown), and had met the number or a later one.
select c.checkpoint_lsn
from pg_catalog.pg_control_checkpoint() c
where c.redo_lsn = c.checkpoint_lsn
  and ($1::pg_catalog.text::pg_catalog.json ->> 0)::pg_catalog.numeric
      < pg_catalog.split_part(c.next_xid, ':', 1)::pg_catalog.numeric * 4294967296
        + pg_catalog.split_part(c.next_xid, ':', 2)::pg_catalog.numeric

-- name: abandoned
-- Ends the session that waits in the transaction for a COMMIT which is not going to come: nobody holds it any more.
select pg_catalog.pg_terminate_backend(a.pid)
from pg_catalog.pg_stat_activity a
where a.backend_xid = (($1::pg_catalog.text::pg_catalog.json ->> 0)::pg_catalog.xid8)::pg_catalog.xid
  and a.state like 'idle in transaction%' and a.pid <> pg_catalog.pg_backend_pid()

-- name: stopped
-- A row if the session is at work with COMMIT, which is cancelled: deferred constraints and triggers end so. A wait for a
-- standby is left alone: a cancel would not undo what is committed here, and the standby may not have it.
select case when a.wait_event is distinct from 'SyncRep' then pg_catalog.pg_cancel_backend(a.pid) end
from pg_catalog.pg_stat_activity a
where a.backend_xid = (($1::pg_catalog.text::pg_catalog.json ->> 0)::pg_catalog.xid8)::pg_catalog.xid
  and a.state = 'active' and a.pid <> pg_catalog.pg_backend_pid()
