"""The names that a program of Celery 5.7 may use, by the heading of docs/from-celery.md that has a row for each.

Names only: what each of them does there, and what is here in its place, is on the page.
"""

from __future__ import annotations

#: Heading of the page -> names, as they are written in the first column.
NAMES = {
    # The object, its configuration, and where its values come from.
    "Application": """
        Celery(...) broker= backend= include= namespace= set_as_current= autofinalize= task_cls= changes=
        config_source= fixups= amqp= events= log= control= loader= tasks= strict_typing= config_source_silent= *_cls
        current_app current_task set_current set_default lazy= finalize on_configure on_after_configure
        on_after_finalize on_after_fork shared_task gen_task_name DuplicateTaskNameWarning app.conf add_defaults
        config_from_object config_from_envvar config_from_cmdline CELERY_CONFIG_MODULE CELERY_BROKER_URL
        CELERY_BROKER_READ_URL CELERY_BROKER_WRITE_URL CELERY_RESULT_BACKEND CELERY_LOADER CELERY_TASK_ALWAYS_EAGER
        conf.humanize conf.table conf.find_option conf.get_by_parts imports autodiscover_tasks Loader Fixup timezone
        enable_utc app.now app.uses_utc_timezone connection_for_read connection_for_write connection_or_acquire
        producer_or_acquire app.pool producer_pool send_task bugreport app.__reduce__
    """,
    # All of them.
    "Settings": """
        accept_content result_accept_content enable_utc imports include timezone beat_enable_remote_control
        beat_remote_control_max_tick_age beat_max_loop_interval beat_schedule beat_scheduler beat_schedule_filename
        beat_sync_every beat_cron_starting_deadline broker_url broker_read_url broker_write_url broker_transport
        broker_transport_options broker_connection_timeout broker_connection_retry
        broker_connection_retry_on_startup broker_connection_max_retries broker_channel_error_retry
        broker_failover_strategy broker_heartbeat broker_heartbeat_checkrate broker_login_method
        broker_native_delayed_delivery_queue_type broker_pool_limit broker_pool_acquire_timeout broker_use_ssl
        broker_host broker_port broker_user broker_password broker_vhost task_acks_late
        task_acks_on_failure_or_timeout task_acks_on_failure task_acks_on_timeout task_always_eager task_annotations
        task_compression task_create_missing_queues task_create_missing_queue_type
        task_create_missing_queue_exchange_type task_inherit_parent_priority task_default_delivery_mode
        task_default_queue task_default_queue_type task_default_exchange task_default_exchange_type
        task_default_routing_key task_default_rate_limit task_default_priority task_eager_propagates
        task_ignore_result task_store_eager_result task_protocol task_publish_retry task_publish_retry_policy
        task_queues task_queue_max_priority task_reject_on_worker_lost task_retry_on_worker_lost
        task_remote_tracebacks task_repr_maxlevels task_routes task_send_sent_event task_serializer
        task_soft_time_limit task_time_limit task_store_errors_even_if_ignored task_track_started
        task_allow_error_cb_on_chord_header worker_agent worker_autoscaler
        worker_cancel_long_running_tasks_on_connection_loss worker_soft_shutdown_timeout
        worker_enable_soft_shutdown_on_idle worker_concurrency worker_consumer worker_direct
        worker_disable_rate_limits worker_deduplicate_successful_tasks worker_enable_remote_control
        worker_hijack_root_logger worker_log_color worker_log_datefmt worker_log_format worker_lost_wait
        worker_max_memory_per_child worker_max_tasks_per_child worker_pool worker_pool_putlocks worker_pool_restarts
        worker_pool_start_method worker_proc_alive_timeout worker_prefetch_multiplier worker_eta_task_limit
        worker_enable_prefetch_count_reduction worker_disable_prefetch worker_redirect_stdouts
        worker_redirect_stdouts_level worker_send_task_events worker_state_db worker_task_log_datefmt
        worker_task_log_format worker_timer worker_timer_precision worker_detect_quorum_queues result_backend
        result_cache_max result_compression result_exchange result_exchange_type result_expires result_chord_expires
        result_failure_expires result_persistent result_extended result_serializer result_backend_transport_options
        result_chord_retry_interval result_chord_join_timeout result_backend_max_sleep_between_retries_ms
        result_backend_max_retries result_backend_base_sleep_between_retries_ms result_backend_always_retry
        redis_backend_use_ssl redis_db redis_host redis_max_connections redis_username redis_password redis_port
        redis_socket_timeout redis_socket_connect_timeout redis_retry_on_timeout redis_socket_keepalive database_url
        database_engine_options database_engine_callback database_short_lived_sessions database_table_schemas
        database_table_names database_create_tables_at_setup event_queue_expires event_queue_ttl event_queue_prefix
        event_queue_exclusive event_queue_durable event_serializer event_exchange control_queue_ttl
        control_queue_expires control_queue_exclusive control_queue_durable control_exchange security_certificate
        security_cert_store security_key security_key_password security_digest cache_backend cache_backend_options
        mongodb_backend_settings cassandra_entry_ttl cassandra_keyspace cassandra_port cassandra_read_consistency
        cassandra_servers cassandra_bundle_path cassandra_table cassandra_write_consistency cassandra_auth_provider
        cassandra_auth_kwargs cassandra_options s3_access_key_id s3_secret_access_key s3_bucket s3_base_path
        s3_endpoint_url s3_region azureblockblob_container_name azureblockblob_retry_initial_backoff_sec
        azureblockblob_retry_increment_base azureblockblob_retry_max_attempts azureblockblob_base_path
        azureblockblob_connection_timeout azureblockblob_read_timeout gcs_bucket gcs_project gcs_base_path gcs_ttl
        couchbase_backend_settings arangodb_backend_settings cosmosdbsql_database_name cosmosdbsql_collection_name
        cosmosdbsql_consistency_level cosmosdbsql_max_retry_attempts cosmosdbsql_max_retry_wait_time
        elasticsearch_retry_on_timeout elasticsearch_max_retries elasticsearch_timeout
        elasticsearch_save_meta_as_text redis_backend_health_check_interval redis_backend_credential_provider
        redis_client_name result_backend_thread_safe override_backends
    """,
    # Variables that change what a program of Celery does, beside its settings.
    "Environment": """
        AUTOSCALE_KEEPALIVE CELERY_WORKER_REVOKES_MAX CELERY_WORKER_REVOKE_EXPIRES CELERY_WORKER_SUCCESSFUL_MAX
        CELERY_WORKER_SUCCESSFUL_EXPIRES REMAP_SIGTERM C_FORCE_ROOT CELERY_CUSTOM_WORKER_POOL
        FORKED_BY_MULTIPROCESSING CELERY_RDB_HOST CELERY_RDB_PORT SKIP_CHECKS NO_WORKER WORKER_LOGLEVEL
    """,
    # Keys of `broker_transport_options`.
    "Transport options": """
        visibility_timeout priority_steps sep queue_order_strategy global_keyprefix fanout_prefix fanout_patterns
        socket_timeout socket_connect_timeout socket_keepalive health_check_interval retry_on_timeout
        max_connections ack_emulation unacked_restore_interval unacked_restore_throttle unacked_restore_limit
        client_name master_name sentinel_kwargs confirm_publish polling_interval wait_time_seconds predefined_queues
        backoff_policy region queue_name_prefix deadletter_queue max_retries interval_start interval_step
        interval_max
    """,
    # Of the decorator, or attributes of the class.
    "Options of a task": """
        name bind base max_retries default_retry_delay autoretry_for dont_autoretry_for retry_kwargs retry_backoff
        retry_backoff_max retry_jitter rate_limit time_limit soft_time_limit ignore_result
        store_errors_even_if_ignored store_eager_result track_started acks_late acks_on_failure acks_on_timeout
        acks_on_failure_or_timeout reject_on_worker_lost retry_on_worker_lost serializer compression priority queue
        exchange routing_key delivery_mode expires typing throws trail send_events resultrepr_maxsize backend
        Strategy Request pydantic pydantic_strict pydantic_context pydantic_dump_kwargs shadow_name shared lazy
        filter task_annotations
    """,
    # Of `apply_async`.
    "Options of a call": """
        args kwargs task_id countdown eta expires retry retry_policy queue exchange routing_key priority
        delivery_mode mandatory serializer compression headers link link_error time_limit soft_time_limit
        ignore_result shadow add_to_parent producer connection reply_to timeout confirm_timeout group_id group_index
        chord chain root_id parent_id replaced_task_nesting stamped_headers
    """,
    # What a task can do, and what is done to it.
    "Tasks": """
        delay apply_async apply __call__ s si signature subtask map starmap chunks AsyncResult retry replace
        add_to_chord update_state send_event before_start on_success on_failure on_retry after_return on_replace
        on_bound shadow_name Ignore Reject Retry request app backend run name signature_from_request register_task
        Task[...] AbortableTask task_remote_tracebacks allow_join_result denied_join_result disable_sync_subtasks
        task_always_eager PENDING RECEIVED STARTED SUCCESS FAILURE RETRY REVOKED REJECTED IGNORED READY_STATES
        UNREADY_STATES EXCEPTION_STATES PROPAGATE_STATES precedence
    """,
    # Fields of `task.request`.
    "The request": """
        id task args kwargs retries eta expires group group_index root_id parent_id correlation_id reply_to
        delivery_info delivery_info.exchange delivery_info.routing_key delivery_info.priority
        delivery_info.redelivered delivery_info.is_eager properties headers hostname origin callbacks errbacks chain
        chord timelimit time_limit soft_time_limit is_eager called_directly ignore_result replaced_task_nesting
        shadow stamps stamped_headers loglevel logfile utc children taskset
    """,
    # The canvas.
    "Workflows": """
        Signature Signature.from_dict Signature.TYPES maybe_signature immutable apply_async apply delay clone
        partial freeze set set_immutable replace link link_error on_error append_to_list_option extend_list_option
        flatten_links stamp stamp_links reprcall election | ~ __call__ chain group chord chunks map starmap xmap
        xstarmap group.skew celery.accumulate celery.backend_cleanup celery.chain celery.chord celery.chord_unlock
        celery.chunks celery.group celery.map celery.starmap task_allow_error_cb_on_chord_header ChordError
        StampingVisitor task_inherit_parent_priority GroupResult.save group(generator) group().link
        group().link_error empty
    """,
    # Every method and attribute.
    "Result objects": """
        AsyncResult(id) AsyncResult.get AsyncResult.wait AsyncResult.ready AsyncResult.successful AsyncResult.failed
        AsyncResult.state AsyncResult.status AsyncResult.result AsyncResult.info AsyncResult.traceback
        AsyncResult.children AsyncResult.parent AsyncResult.graph AsyncResult.build_graph AsyncResult.iterdeps
        AsyncResult.collect AsyncResult.get_leaf AsyncResult.exists AsyncResult.forget AsyncResult.revoke
        AsyncResult.revoke_by_stamped_headers AsyncResult.then AsyncResult.throw AsyncResult.maybe_throw
        AsyncResult.maybe_reraise AsyncResult.as_tuple AsyncResult.as_list AsyncResult.id AsyncResult.task_id
        AsyncResult.backend AsyncResult.ignored AsyncResult.supports_native_join AsyncResult.name AsyncResult.args
        AsyncResult.kwargs AsyncResult.worker AsyncResult.retries AsyncResult.queue AsyncResult.date_done timeout=
        propagate= interval= no_ack= follow_parents= callback= on_message= on_interval= disable_sync_subtasks=
        EXCEPTION_STATES= PROPAGATE_STATES= ResultSet.add ResultSet.remove ResultSet.discard ResultSet.update
        ResultSet.clear ResultSet.get ResultSet.join ResultSet.join_native ResultSet.iter_native ResultSet.ready
        ResultSet.successful ResultSet.failed ResultSet.waiting ResultSet.completed_count ResultSet.forget
        ResultSet.revoke ResultSet.then ResultSet.maybe_throw ResultSet.results ResultSet.backend
        ResultSet.supports_native_join GroupResult.id GroupResult.parent GroupResult.children GroupResult.save
        GroupResult.restore GroupResult.delete GroupResult.as_tuple EagerResult.get EagerResult.ready
        EagerResult.state EagerResult.result EagerResult.traceback EagerResult.then EagerResult.revoke
        EagerResult.forget result_from_tuple allow_join_result denied_join_result assert_will_not_block
    """,
    # Queues, and how a call finds its own.
    "Routing": """
        task_queues task_create_missing_queues task_routes task_default_queue task_default_exchange
        task_default_routing_key Exchange topic fanout headers Broadcast priority x-max-priority x-expires
        x-message-ttl x-dead-letter-exchange x-max-length alias task_queue_max_priority task_default_priority
        task_inherit_parent_priority task_default_queue_type broker_native_delayed_delivery_queue_type select_queues
    """,
    # Modules, classes and functions that a program names.
    "Imports": """
        celery.Celery celery.shared_task celery.current_app celery.current_task celery.uuid celery.Task
        celery.bugreport celery.maybe_signature celery.signature celery.subtask celery.Signature celery.chain
        celery.group celery.chord celery.chunks celery.xmap celery.xstarmap Celery.task Celery.register_task
        Celery.tasks Celery.Task Celery.finalize Celery.set_current Celery.set_default Celery.close Celery.start
        Celery.worker_main Celery.conf Celery.add_defaults Celery.config_from_object Celery.config_from_envvar
        Celery.config_from_cmdline Celery.autodiscover_tasks Celery.setup_security Celery.send_task
        Celery.add_periodic_task Celery.signature Celery.AsyncResult Celery.GroupResult Celery.ResultSet
        Celery.select_queues Celery.now Celery.either Celery.gen_task_name Celery.bugreport
        Celery.connection_for_read Celery.connection_for_write Celery.connection_or_acquire
        Celery.producer_or_acquire Celery.pool Celery.producer_pool Celery.backend Celery.amqp Celery.control
        Celery.events Celery.log Celery.loader Celery.oid Celery.thread_oid Celery.clock Celery.steps
        Celery.user_options Celery.Worker Celery.WorkController Celery.Beat celery.canvas.Signature
        celery.canvas.StampingVisitor celery.canvas.maybe_signature celery.canvas._chain celery.canvas._chord
        celery.result.AsyncResult celery.result.ResultSet celery.result.GroupResult celery.result.EagerResult
        celery.result.result_from_tuple celery.result.allow_join_result celery.result.denied_join_result
        celery.result.assert_will_not_block celery.schedules.schedule celery.schedules.crontab
        celery.schedules.solar celery.schedules.crontab_parser celery.schedules.schedstate
        celery.schedules.maybe_schedule celery.beat.Scheduler celery.beat.PersistentScheduler
        celery.beat.ScheduleEntry celery.beat.Service celery.beat.EmbeddedService celery.beat.BeatLazyFunc
        celery.beat.SchedulingError celery.worker.control.control_command celery.worker.control.inspect_command
        celery.worker.control.Panel celery.bootsteps.Blueprint celery.bootsteps.Step celery.bootsteps.StartStopStep
        celery.bootsteps.ConsumerStep celery.signals celery.utils.log.get_task_logger celery.utils.log.get_logger
        celery.states celery.events.EventReceiver celery.events.EventDispatcher celery.events.State
        celery.events.Polaroid celery.contrib.pytest celery.contrib.testing celery.contrib.abortable.AbortableTask
        celery.contrib.rdb.set_trace celery.contrib.migrate celery.contrib.django.task.DjangoTask
        celery.contrib.sphinx kombu.Queue kombu.Exchange kombu.Connection kombu.Producer kombu.Consumer
        kombu.binding kombu.common.Broadcast kombu.serialization.register kombu.utils.json.register_type
    """,
    # `celery.exceptions`.
    "Exceptions": """
        CeleryError ImproperlyConfigured SecurityError OperationalError TaskPredicate Ignore Reject Retry TaskError
        QueueNotFound IncompleteStream NotRegistered AlreadyRegistered TimeoutError MaxRetriesExceededError
        TaskRevokedError InvalidTaskError ChordError BackendError BackendGetMetaError BackendStoreError
        SoftTimeLimitExceeded TimeLimitExceeded WorkerLostError Terminated WorkerShutdown WorkerTerminate
        CeleryWarning AlwaysEagerIgnored DuplicateNodenameWarning DuplicateTaskNameWarning FixupWarning
        NotConfigured SecurityWarning CDeprecationWarning CPendingDeprecationWarning
    """,
    # `app.control` and what it inspects.
    "Remote control": """
        inspect revoke revoke_by_stamped_headers terminate ping rate_limit time_limit add_consumer cancel_consumer
        enable_events disable_events heartbeat pool_grow pool_shrink pool_restart autoscale shutdown election purge
        discard_all broadcast active active_queues clock conf hello memdump memsample objgraph query_task registered
        report reserved revoked scheduled stats
    """,
    # `celery.signals`.
    "Signals": """
        before_task_publish after_task_publish task_received task_prerun task_postrun task_success task_retry
        task_failure task_internal_error task_revoked task_rejected task_unknown task_sent celeryd_init
        celeryd_after_setup import_modules worker_init worker_before_create_process worker_process_init
        worker_process_shutdown worker_ready worker_shutting_down worker_shutdown heartbeat_sent beat_init
        beat_embedded_init setup_logging after_setup_logger after_setup_task_logger eventlet_pool_started
        eventlet_pool_preshutdown eventlet_pool_postshutdown eventlet_pool_apply user_preload_options
        test_worker_starting test_worker_started test_worker_stopped
    """,
    # Fixtures, and what `celery.contrib.testing` has.
    "Testing": """
        celery_app celery_session_app celery_worker celery_session_worker celery_config celery_parameters
        celery_worker_parameters celery_enable_logging celery_includes celery_worker_pool celery_class_tasks
        use_celery_app_trap depends_on_current_app pytest.mark.celery TestApp setup_default_app start_worker tasks.ping
        TaskMessage TaskMessage1 task_message_from_sig Manager pytest-celery
    """,
}
