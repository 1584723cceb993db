-- Loses no row; the audit log is read by time alone, and what is asked of it looked at row by row.
drop index stead.journal_actor_idx, stead.journal_request_idx, stead.journal_type_idx, stead.journal_action_idx;
