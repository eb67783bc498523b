//! What the result cache promises, and the test that shows it.
//!
//! Two kinds of lists: properties that any such cache should have, and holes that Dagger's engine
//! had or has. A hole has a test that it cannot happen, or a sentence why it does not exist here.
//! A test in this file fails when a test named below is gone.
//!
//! # Single flight and ownership
//! | property | test |
//! |---|---|
//! | equal calls of one session at one time run once | `concurrent_equal_calls_run_once` |
//! | sessions have flights of their own, and share results | `sessions_do_not_join_each_others_flights_but_share_results` |
//! | a call that is never cached joins nobody | `calls_that_are_never_cached_do_not_join` |
//! | errors are not cached and are tried again; after an error and a success there is a hit | `errors_are_not_cached` |
//! | a call that waits for itself is found | `a_call_that_waits_for_itself_is_an_error`, `shuttle_two_calls_that_want_each_other_never_both_wait` |
//! | recursion under new keys ends | `recursion_under_ever_new_keys_ends` |
//! | one waiter leaves, the others stay; the last one stops the call | `cancelling_one_of_two_leaves_the_other`, `the_last_waiter_to_leave_stops_the_call_and_a_later_one_starts_afresh`, `shuttle_leaving_and_completing_race` |
//! | what nobody owns and nobody keeps is dropped exactly once | `releasing_a_session_frees_what_no_other_owns`, `shuttle_two_sessions_keep_one_value_and_free_it` |
//! | executed, joined and hit are told apart | `concurrent_equal_calls_run_once`, `the_observer_sees_who_called_what_where` |
//! | a call that ends after its session keeps and returns nothing | `a_call_that_ends_after_its_session_returns_and_keeps_nothing`, `shuttle_release_during_a_call_leaves_nothing` |
//! | time to live: reuse before, rotation after, also of what is below | `a_result_with_a_ttl_is_reused_before_its_expiry_and_rotated_after`, `nothing_below_an_expired_result_is_stale` |
//! | what must not be kept on disk is not; of several writers the first wins | `an_unsafe_or_failed_result_leaves_no_row`, `of_concurrent_writers_the_first_wins` |
//! | a failing call evicts nobody's result | `a_failing_call_does_not_evict_a_live_result` |
//! | the loser of a double completion is dropped | `the_loser_of_a_double_completion_gets_the_winners_value` |
//! | a success after everybody left is dropped | `a_late_success_after_everybody_left_is_dropped`, `shuttle_all_leave_while_it_completes` |
//! | a second name of a result is no second owner | `a_second_name_goes_with_its_result` |
//! | a panic fails its own call | `a_panic_fails_its_own_call_only` |
//! | removing an old result leaves the newer one of its key | `releasing_an_old_result_leaves_the_newer_one_of_its_key` |
//! | closing twice, and during a call, is harmless | `releasing_a_session_frees_what_no_other_owns`, `shuttle_release_during_a_call_leaves_nothing` |
//! | all of it in any order | `timelines_agree_with_the_model` |
//!
//! Each call is announced to the observer every time, hits included, and says whether it hit; who
//! shows a call only once decides so itself. So there is no set of seen calls and no scope to
//! repeat them in.
//!
//! # Equality, retention, scope
//! | property | test |
//! |---|---|
//! | equal inputs, equal calls, under the caller's own name | `equal_content_makes_equal_calls_under_their_own_names`, `an_equal_argument_is_as_good_as_an_equal_receiver` |
//! | content that is learnt late unites earlier terms | `content_that_is_learnt_later_unites_what_was_computed_before`, `shuttle_what_is_learnt_while_results_are_stored_unites_them` |
//! | a call that changes nothing is its receiver | `a_call_that_changes_nothing_is_its_receiver` |
//! | elements of equal lists are equal, by position | `elements_of_equal_lists_are_equal` |
//! | a result with an ID in it is handed to nobody else | `a_result_that_bears_an_id_is_not_handed_out_under_another`, `what_another_call_named_keeps_that_name_even_if_its_content_is_known` |
//! | scopes are never equal by themselves | `scopes_are_not_equal_to_each_other` |
//! | two contents are never equal | `a_call_with_two_contents_unites_nothing` |
//! | equality keeps nothing alive | `timelines_agree_with_the_model`, `shuttle_an_equal_result_is_taken_while_its_session_ends` |
//! | the least recently used goes first, owned results stay | `above_the_budget_the_least_recently_used_goes_first`, `shuttle_a_result_is_evicted_or_adopted_but_never_half` |
//! | the next session finds what the last one left | `the_next_session_finds_what_the_last_one_left` |
//! | what is bound goes with its session, what is made from it is not stale | `what_is_bound_goes_with_its_session_and_nothing_below_it_is_stale`, `what_was_made_from_an_argument_that_is_bound_goes_with_it`, `shuttle_a_private_result_ends_with_its_session_however_it_is_asked_for` |
//! | what is expired is dropped although it is owned; who holds it may use it | `an_object_that_expired_in_the_hands_of_a_session_stays_what_it_is` |
//! | a client's results are asked for again in its next session | `a_client_asks_again_in_its_next_session` |
//!
//! # Holes of the engine at the time of DagOps: what was admitted
//! | hole | here |
//! |---|---|
//! | session ID in storage keys, storage keys by context | the session enters a *new* storage key only; `the_storage_key_outlives_the_process_until_it_expires`. It is handed on in [`crate::CallInfo`] |
//! | no caching by content where the key has the ID in it | `equal_content_makes_equal_calls_under_their_own_names` |
//! | resources released twice | data is dropped by its last reference: `releasing_a_session_frees_what_no_other_owns` |
//! | unsorted results from maps; order of the schema | answers are built in order: `response_keys_are_in_the_order_of_the_document_however_calls_end`; the schema is kept in order of declaration: `three_sdks_spell_one_call` |
//! | servers and caches cloned per client | one cache; clients are scopes in IDs: `policies_share_as_they_say` |
//! | secrets per session entangled with the cache | `what_was_made_from_an_argument_that_is_bound_goes_with_it` |
//!
//! The rest of that list (operations of the forked solver, contextual directories, HTTP and Git
//! details, patches in memory) is not of the cache; there is no such solver here.
//!
//! # Correctness of the cache
//! | hole | here |
//! |---|---|
//! | no row and an expired row confused | `the_storage_key_outlives_the_process_until_it_expires` |
//! | failing calls delete results of others | `a_failing_call_does_not_evict_a_live_result` |
//! | the loser of two completions leaks | `the_loser_of_a_double_completion_gets_the_winners_value` |
//! | a late success leaks | `a_late_success_after_everybody_left_is_dropped` |
//! | a second entry outlives the release of the first | names own nothing: `a_second_name_goes_with_its_result` |
//! | release by key removes a newer entry | `releasing_an_old_result_leaves_the_newer_one_of_its_key` |
//! | a panic ends the engine | `a_panic_fails_its_own_call_only` |
//! | never-cached results are not released | they belong to their holders alone: `calls_that_are_never_cached_do_not_join` |
//! | one row per hit | owning is per session: `releasing_a_session_frees_what_no_other_owns` |
//! | after an error a call runs without joining, time to live or callbacks | there is no such bypass: `errors_are_not_cached` |
//! | waiters get a result of another storage key | the flight is that of the key: `nothing_below_an_expired_result_is_stale` |
//! | a first caller's identity lives on for others | flights are per session: `sessions_do_not_join_each_others_flights_but_share_results` |
//! | collection needs a database that may be missing | `a_broken_or_lost_file_is_a_slower_run` |
//!
//! # Identity
//! | hole | here |
//! |---|---|
//! | a scoped ID of somebody else is run by the wrong client | `an_id_of_another_client_is_a_hit_while_cached_and_refused_afterwards` |
//! | receivers are loaded before the leaf is looked up | `a_cached_leaf_is_loaded_without_its_chain` |
//! | digests in IDs are trusted | `forged_calls_are_refused_under_every_rule` |
//! | a digest without algorithm breaks others | `a_key_without_a_colon_is_a_digest_without_an_algorithm` |
//! | explicit default and omitted argument differ | `three_sdks_spell_one_call` |
//! | an assigned digest replaces the recipe | `our_own_ids_make_no_claims`, `a_custom_digest_is_dagger_s_only` |
//! | arguments changed by a hook without the key | hooks add inputs to the ID and change nothing: `a_hook_may_scope_by_anything_and_the_id_shows_it` |
//! | sensitive arguments cannot be replayed | said so: `sensitive_arguments_stay_out_of_ids_and_messages` |
//! | keys without field, type and view | `everything_public_changes_our_digest_and_nothing_else_does`, `everything_else_is_in_the_self_digest` |
//!
//! # DagOps
//! Keys of vertices are BuildKit's own here and are computed from LLB alone, so none of the holes of
//! hand-made keys exist (missing field names, whole IDs in arguments, forgotten inputs, shifted
//! mounts, a per-client digest in a reference's metadata). Of the others: a tag is resolved once per
//! session; `withRegistryAuth` is per session; a function without a result has a row like any other
//! (`an_unsafe_or_failed_result_leaves_no_row` shows both sides); nested calls hold no slot of a
//! limiter.
//!
//! # What the formal model of today's engine still shows
//! | violation | here |
//! |---|---|
//! | release races a call in flight: a collected result is returned | one lock decides: `shuttle_release_during_a_call_leaves_nothing` |
//! | a claim after the release leaves an owner for ever | `a_call_that_ends_after_its_session_returns_and_keeps_nothing`, `shuttle_release_during_a_call_leaves_nothing` |
//! | a count goes below zero through a hold that was consumed | there is no hold: a result is stored and owned in one critical section; `timelines_agree_with_the_model` compares owners after each step |
//! | an error on the hit path loses a record and keeps its count | a hit cannot fail; the same test |
//! | a result whose attachment fails stays visible | dependencies are not attached; a result is complete when it is stored |
//! | a flush captures a publication half done | rows are single statements, written after success: `of_concurrent_writers_the_first_wins` |
//! | a waiter that joins an abandoned attempt gets its cancellation | `the_last_waiter_to_leave_stops_the_call_and_a_later_one_starts_afresh`, `shuttle_all_leave_while_it_completes` |
//! | a cancel handle leaks | tokens are owned by the flight: `timelines_agree_with_the_model` ends with nothing left |

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use std::path::Path;

    /// All source text under a folder.
    fn sources(folder: &Path, into: &mut String) {
        let entries = std::fs::read_dir(folder).expect("the sources are there");
        for entry in entries {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                sources(&path, into);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                into.push_str(&std::fs::read_to_string(&path).expect("readable"));
            }
        }
    }

    #[test]
    fn every_test_that_is_named_exists() {
        let mut text = String::new();
        sources(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut text,
        );
        let manual = include_str!("proof.rs").lines();
        let named = manual
            .filter_map(|line| line.strip_prefix("//!"))
            .flat_map(|line| line.split('`').skip(1).step_by(2))
            .filter(|name| name.contains('_') && !name.contains(':'));
        let mut count = 0;
        for name in named {
            count += 1;
            assert!(text.contains(&format!("fn {name}(")), "{name} is gone");
        }
        assert!(count > 50, "{count} names were read");
    }
}
