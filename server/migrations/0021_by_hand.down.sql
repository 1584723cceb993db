-- No row is lost: changes by hand are told as they were before.
drop trigger journal_by_hand on stead.tenants;
drop trigger journal_by_hand on stead.users;
drop trigger journal_by_hand on stead.user_credentials;
drop trigger journal_by_hand on stead.sessions;
drop trigger journal_by_hand on stead.api_keys;
drop trigger journal_by_hand on stead.products;
drop trigger journal_emptied on stead.tenants;
drop trigger journal_emptied on stead.users;
drop trigger journal_emptied on stead.user_credentials;
drop trigger journal_emptied on stead.sessions;
drop trigger journal_emptied on stead.api_keys;
drop trigger journal_emptied on stead.products;
drop trigger journal_emptied on stead.journal;

set local role stead_journal;

create or replace function stead_journal.write(
  tenant uuid, resource text, id uuid, revision bigint, act text, old_values jsonb, new_values jsonb, personal jsonb,
  image jsonb, update_time timestamptz
) returns void
  language plpgsql
as $$
declare
  facts jsonb := nullif(current_setting('stead.request', true), '');
  at timestamptz := stead.now();
  -- What the platform purges nobody may read any more: of it nothing is kept but that it went.
  forgotten boolean := act = 'purge' and session_user = 'stead_platform';
begin
  insert into stead.journal (
    id, tenant_id, create_time, resource_type, resource_id, revision, action, old_values, new_values, personal,
    actor, method, request_id, trace_id, peer_address, user_agent, reason, image, update_time)
  values (
    stead.uuid7(at), tenant, at, resource, id, revision, act, case when not forgotten then old_values end, new_values,
    case when not forgotten then personal end,
    left(coalesce(facts ->> 'actor', session_user), 200), left(facts ->> 'method', 200),
    left(facts ->> 'request_id', 64), left(facts ->> 'trace_id', 64), left(facts ->> 'peer_address', 100),
    left(facts ->> 'user_agent', 500), left(facts ->> 'reason', 200), image, update_time);
end
$$;

drop function stead_journal.by_hand();
drop function stead_journal.emptied();

set local role stead_owner;
