"""Templates that are wrong in one way each, for check_template.py --self-test: the claim that has to notice, what is
wrong, and the change that makes it so.
"""

DAY = 86_400


def properties(template, logical_id):
    return template["Resources"][logical_id]["Properties"]


def put(logical_id, *path):
    """Sets what `path` leads to in the resource's properties; its last part is the value."""
    *way, last, value = path

    def mutate(template, _documents):
        place = properties(template, logical_id)
        for part in way:
            place = place[part]
        place[last] = value

    return mutate


def drop(logical_id, *path):
    """Takes away what `path` leads to in the resource's properties."""
    *way, last = path

    def mutate(template, _documents):
        place = properties(template, logical_id)
        for part in way:
            place = place[part]
        del place[last]

    return mutate


def remove(logical_id):
    return lambda template, _documents: template["Resources"].pop(logical_id)


def statements(template, role):
    return properties(template, role)["Policies"][0]["PolicyDocument"]["Statement"]


def grant(role, action, resource, **more):
    """One more statement in the role."""

    def mutate(template, _documents):
        statements(template, role).append({"Effect": "Allow", "Action": action, "Resource": resource, **more})

    return mutate


def no_statement(role, member, value):
    """Without the statements whose member is this value."""

    def mutate(template, _documents):
        kept = [each for each in statements(template, role) if each.get(member) != value]
        properties(template, role)["Policies"][0]["PolicyDocument"]["Statement"] = kept

    return mutate


def no_condition(role):
    def mutate(template, _documents):
        for statement in statements(template, role):
            statement.pop("Condition", None)

    return mutate


def resource(logical_id, member, value):
    """Sets a member of the resource itself; nothing takes it away."""

    def mutate(template, _documents):
        if value is None:
            del template["Resources"][logical_id][member]
        else:
            template["Resources"][logical_id][member] = value

    return mutate


def replaced(logical_id, member, old, new):
    """Changes a text under a Fn::Sub."""

    def mutate(template, _documents):
        place = properties(template, logical_id)[member]
        assert old in place["Fn::Sub"], old
        place["Fn::Sub"] = place["Fn::Sub"].replace(old, new)

    return mutate


def document(name, old, new):
    def mutate(_template, documents):
        assert old in documents[name], old
        documents[name] = documents[name].replace(old, new, 1)

    return mutate


def more_of(logical_id, of):
    """A second resource like `of`."""

    def mutate(template, _documents):
        template["Resources"][logical_id] = dict(template["Resources"][of])

    return mutate


def body(change):
    """Changes the paths of the main API."""
    return lambda template, _documents: change(properties(template, "HttpApi")["Body"]["paths"])


def group(member, value):
    return put("WebhookFunctionDeploymentGroup", member, value)


def refused_query(template, _documents):
    metric = properties(template, "CallbacksRefused")["Metrics"][0]
    metric["Expression"]["Fn::Sub"] = metric["Expression"]["Fn::Sub"].replace("'refused'", "'verified'")


def missing_query(template, _documents):
    metric = properties(template, "ConfirmationsMissing")["Metrics"][0]
    metric["Expression"]["Fn::Sub"] = metric["Expression"]["Fn::Sub"].replace("'not_confirmed'", "'settled'")


def no_index_in_throttles(template, _documents):
    metrics = properties(template, "TableThrottled")["Metrics"]
    properties(template, "TableThrottled")["Metrics"] = metrics[:-1]


def build_as_tag(template, _documents):
    webhook = properties(template, "WebhookFunction")
    webhook["Tags"].append({"Key": "BUILD", "Value": webhook["Environment"]["Variables"].pop("BUILD")})


TABLE = {"Fn::GetAtt": ["Table", "Arn"]}
MAY = "each_function_may_do_exactly_what_its_code_does"
ROLLOUT = "each_rollout_moves_the_alias_and_stops_at_the_new_versions_errors"
DEAD = "each_dead_letter_queue_is_kept_and_has_an_alarm"
QUEUE = "each_queue_outlasts_its_worker_and_reports_single_failures"
KEYS = "the_table_has_the_keys_that_the_store_uses_and_never_forgets"
TOKENS = "tokens_have_an_api_of_their_own_and_every_route_of_it_asks_for_one"
OWN = "the_functions_own_metrics_have_their_alarms"
SHOWN = "the_dashboard_shows_every_metric_and_alarm"
BUILD = "each_build_publishes_new_versions"
ALIKE = "each_function_is_built_traced_and_logged_alike"
POLLER = "the_poller_runs_every_minute_and_ends_before_the_next"
RUNBOOK = "each_alarm_is_explained_in_the_runbook"
DESCRIBED = "each_parameter_and_output_is_described"
SETTLEMENT = "CallbackWorkerFunctionSettlement"

MUTATIONS = [
    (MAY, "the notifier may delete", grant("NotifierRole", "dynamodb:DeleteItem", TABLE)),
    (MAY, "the worker may not acknowledge", no_statement(
        "CallbackWorkerRole", "Resource", {"Fn::GetAtt": ["SettlementQueue", "Arn"]})),
    (MAY, "create-order may write balances", no_statement("CreateOrderRole", "Effect", "Deny")),
    (MAY, "a managed policy", put("AdminRole", "ManagedPolicyArns", ["arn:aws:iam::aws:policy/AdministratorAccess"])),
    (MAY, "two functions share a role", put("AdminFunction", "Role", {"Fn::GetAtt": ["NotifierRole", "Arn"]})),
    ("each_function_writes_only_the_rows_that_are_its_own", "admin may write any row", no_condition("AdminRole")),
    ("only_the_worker_writes_money", "the poller may write payments", no_condition("ReconcilePollerRole")),
    ("what_providers_were_told_is_safe_outlives_the_stack", "a stack that goes takes callbacks with it",
     resource("SettlementQueue", "DeletionPolicy", None)),
    ("only_the_worker_writes_money", "the notifier may write any row", no_condition("NotifierRole")),
    ("only_the_worker_writes_money", "status-query writes balances",
     grant("StatusQueryRole", "dynamodb:UpdateItem", TABLE)),
    ("the_webhook_has_no_table_and_status_query_only_reads", "the webhook reads",
     grant("WebhookRole", "dynamodb:GetItem", TABLE)),
    ("the_webhook_has_no_table_and_status_query_only_reads", "status-query writes",
     grant("StatusQueryRole", ["dynamodb:PutItem"], TABLE)),
    ("nobody_but_the_audit_scans", "status-query scans", grant("StatusQueryRole", "dynamodb:Scan", TABLE)),
    ("no_statement_has_a_wildcard", "every action", grant("AdminRole", "dynamodb:*", TABLE)),
    ("no_statement_has_a_wildcard", "every resource", grant("AdminRole", "sqs:SendMessage", "*")),
    ("no_statement_has_a_wildcard", "all but one", grant("AdminRole", [], TABLE, NotAction="iam:PassRole")),
    ("each_function_gets_the_settings_it_reads_and_no_others", "the webhook knows the table",
     put("WebhookFunction", "Environment", "Variables", "TABLE_NAME", {"Ref": "Table"})),
    ("each_function_gets_the_settings_it_reads_and_no_others", "no MODE",
     drop("CallbackWorkerFunction", "Environment", "Variables", "MODE")),
    ("each_function_gets_the_settings_it_reads_and_no_others", "always live",
     put("CallbackWorkerFunction", "Environment", "Variables", "MODE", "live")),
    (BUILD, "no time of the build", drop("AdminFunction", "Environment", "Variables", "BUILD")),
    (BUILD, "the time of the build is a tag", build_as_tag),
    (BUILD, "a tag that may change", put("AdminFunction", "Tags", [{"Key": "settings", "Value": "1"}])),
    (BUILD, "a value that infra/build does not find", put("AdminFunction", "Environment", "Variables", "BUILD", "2")),
    (ALIKE, "no traces", put("AdminFunction", "TracingConfig", {"Mode": "PassThrough"})),
    (ALIKE, "text logs", put("AdminFunction", "LoggingConfig", "LogFormat", "Text")),
    (ALIKE, "another's log", put("AdminFunction", "LoggingConfig", "LogGroup", {"Ref": "NotifierLogs"})),
    ("each_log_group_forgets", "logs for ever", drop("WebhookLogs", "RetentionInDays")),
    ("each_function_has_an_error_alarm", "no alarm", remove("AdminErrors")),
    ("each_function_has_an_error_alarm", "the alarm of another",
     put("AdminErrors", "Dimensions", 0, "Value", {"Ref": "NotifierFunction"})),
    ("each_function_has_an_error_alarm", "crashes in minutes that follow each other",
     put("NotifierErrors", "EvaluationPeriods", 2)),
    (ROLLOUT, "no alias", remove("WebhookFunctionAliaslive")),
    (ROLLOUT, "five minutes for what runs once a minute",
     put("ReconcilePollerFunctionDeploymentGroup", "DeploymentConfigName", "Fn::If", 1,
         {"Fn::Sub": ["CodeDeployDefault.Lambda${ConfigName}", {"ConfigName": "Canary10Percent5Minutes"}]})),
    (ROLLOUT, "all at once, also in prod", group("DeploymentConfigName", "CodeDeployDefault.LambdaAllAtOnce")),
    (ROLLOUT, "no way back", group("AutoRollbackConfiguration", {"Enabled": False})),
    (ROLLOUT, "nothing watched", group("AlarmConfiguration", {"Alarms": [], "Enabled": True})),
    (ROLLOUT, "the old version is watched", put("WebhookNewVersionErrors", "Dimensions", 2, "Value", "1")),
    (ROLLOUT, "another function's failures", put("WebhookNewVersionFailures", "Dimensions", 1, "Value", "admin")),
    (ROLLOUT, "only the newest minute", put("WebhookNewVersionErrors", "EvaluationPeriods", 1)),
    (ROLLOUT, "not before the second failure", put("WebhookNewVersionFailures", "Threshold", 2)),
    (ROLLOUT, "failures do not count",
     group("AlarmConfiguration", {"Alarms": [{"Name": {"Ref": "WebhookNewVersionErrors"}}], "Enabled": True})),
    (ROLLOUT, "no rollout", resource("WebhookFunctionAliaslive", "UpdatePolicy", {})),
    (DEAD, "no alarm", remove("SettlementDeadLettersNotEmpty")),
    (DEAD, "an alarm from two on", put("SettlementDeadLettersNotEmpty", "Threshold", 2)),
    (DEAD, "four days", put("NotificationDeadLetters", "MessageRetentionPeriod", 4 * DAY)),
    (DEAD, "gone with the stack", resource("SettlementDeadLetters", "DeletionPolicy", "Delete")),
    (DEAD, "no dead letters", drop("SettlementQueue", "RedrivePolicy")),
    ("each_alarm_reaches_the_topic", "a silent alarm", put("BooksDoNotBalance", "AlarmActions", [])),
    ("each_queue_has_an_alarm_on_its_age", "no alarm", remove("NotificationQueueLate")),
    ("those_who_take_confirmations_have_an_alarm_on_throttles", "errors instead",
     put("WebhookThrottled", "MetricName", "Errors")),
    ("each_api_has_an_alarm_on_its_errors", "the wrong API",
     put("TokenApi5xx", "Dimensions", 0, "Value", {"Ref": "HttpApi"})),
    ("the_table_has_alarms", "an index is not watched", no_index_in_throttles),
    ("the_table_has_alarms", "no alarm", remove("TableFails")),
    ("the_table_has_alarms", "the newest minute is filled",
     put("TableThrottled", "Metrics", 0, "Expression", "SUM(FILL(METRICS(), 0))")),
    (OWN, "no alarm", remove("OrdersBeyondSla")),
    (OWN, "not before the second", put("CreditWithoutProviderRecord", "Threshold", 2)),
    (OWN, "not told of", remove("ProviderNotInSettings")),
    (OWN, "another stage", put("BooksDoNotBalance", "Dimensions", 0, "Value", "prod")),
    (OWN, "delivered ones", put("NotificationsGivenUp", "Dimensions", 1, "Value", "delivered")),
    (OWN, "verified callbacks", refused_query),
    (OWN, "settled payments", missing_query),
    (SHOWN, "a metric is missing", replaced("Dashboard", "DashboardBody", "BooksUnbalanced", "Books")),
    (SHOWN, "an alarm is missing", replaced("Dashboard", "DashboardBody", "${MoneyParked.Arn}", "")),
    (SHOWN, "no JSON", replaced("Dashboard", "DashboardBody", "]}}", "]}")),
    (SHOWN, "all stages", replaced("Dashboard", "DashboardBody", ' Stage=\\"${Stage}\\"', "")),
    (RUNBOOK, "an alarm without a section", more_of("Other", "AdminErrors")),
    (RUNBOOK, "a section without an alarm", document("docs/runbook.md", "## `Api5xx`", "## `Api4xx`")),
    (RUNBOOK, "it says something else", put("AdminErrors", "AlarmDescription", "admin is slow")),
    (RUNBOOK, "no way to mend it", document("docs/runbook.md", "**Mend.**", "Mend.")),
    (DESCRIBED, "a parameter without a description",
     lambda template, _documents: template["Parameters"]["Mode"].pop("Description")),
    (DESCRIBED, "an output without a description",
     lambda template, _documents: template["Outputs"]["ApiUrl"].pop("Description")),
    (DESCRIBED, "a parameter that docs/deploy.md lacks", document("docs/deploy.md", "| `Mode` |", "| Mode |")),
    (DESCRIBED, "another default",
     lambda template, _documents: template["Parameters"]["ReviewTwoFrom"].update(Default=1)),
    (QUEUE, "hidden for too short", put("SettlementQueue", "VisibilityTimeout", 179)),
    (QUEUE, "the function takes longer", put("NotifierFunction", "Timeout", 61)),
    (QUEUE, "whole batches fail", put(SETTLEMENT, "FunctionResponseTypes", [])),
    (QUEUE, "given up after an hour", put("SettlementQueue", "RedrivePolicy", "maxReceiveCount", 20)),
    (QUEUE, "forgotten before it is given up", put("SettlementQueue", "MessageRetentionPeriod", DAY // 8)),
    (QUEUE, "four days, and a worker that is stopped for longer", put("SettlementQueue", "MessageRetentionPeriod", 4 * DAY)),
    (QUEUE, "no limit", drop(SETTLEMENT, "ScalingConfig")),
    (KEYS, "rows expire", put("Table", "TimeToLiveSpecification", {"AttributeName": "ttl", "Enabled": True})),
    (KEYS, "no way back in time",
     put("Table", "PointInTimeRecoverySpecification", {"PointInTimeRecoveryEnabled": False})),
    (KEYS, "no encryption", drop("Table", "SSESpecification")),
    (KEYS, "no protection", put("Table", "DeletionProtectionEnabled", False)),
    (KEYS, "gone with the stack", resource("Table", "DeletionPolicy", None)),
    (KEYS, "another index", put("Table", "GlobalSecondaryIndexes", 0, "IndexName", "overdue")),
    ("the_secrets_come_without_a_value", "a value", put("ClientKeysSecret", "SecretString", "{}")),
    ("each_route_goes_to_its_function", "a route less", body(lambda paths: paths.pop("/health"))),
    ("each_route_goes_to_its_function", "a route more",
     body(lambda paths: paths.update({"/extra": paths["/health"]}))),
    ("each_route_goes_to_its_function", "another function",
     body(lambda paths: paths["/admin/reviews"].update(get=paths["/health"]["get"]))),
    ("the_document_has_the_same_routes", "an undocumented route",
     lambda _template, documents: documents["docs/openapi.json"]["paths"].pop("/health")),
    (TOKENS, "an open route", put("TokenReads", "AuthorizationType", "NONE")),
    (TOKENS, "admin", put("TokenWritesIntegration", "IntegrationUri", {"Ref": "AdminFunctionAliaslive"})),
    (TOKENS, "any audience", put("TokenAuthorizer", "JwtConfiguration", "Audience", [])),
    (TOKENS, "one more route", more_of("TokenOther", "TokenReads")),
    (TOKENS, "tokens are always believed",
     put("StatusQueryFunction", "Environment", "Variables", "CLIENT_AUTH", "signature_or_jwt")),
    (TOKENS, "the main API refuses signatures",
     body(lambda paths: paths["/recharges"]["post"].update(security=[{"jwt": []}]))),
    ("what_is_optional_is_conditional_and_nothing_else_is", "always", resource("TokenApi", "Condition", None)),
    ("what_is_optional_is_conditional_and_nothing_else_is", "an alarm in prod only",
     resource("Api5xx", "Condition", "IsProd")),
    ("what_is_optional_is_conditional_and_nothing_else_is", "no rules",
     lambda template, _documents: template["Rules"].clear()),
    ("each_route_is_throttled_and_logged", "no limit",
     put("HttpApiApiGatewayDefaultStage", "DefaultRouteSettings", "ThrottlingRateLimit", 0)),
    ("each_route_is_throttled_and_logged", "no limit for tokens", drop("TokenStage", "DefaultRouteSettings")),
    ("each_route_is_throttled_and_logged", "no log", drop("TokenStage", "AccessLogSettings")),
    (POLLER, "every five minutes",
     put("ReconcilePollerFunctionEveryMinute", "ScheduleExpression", "rate(5 minutes)")),
    (POLLER, "it runs for longer than a minute", put("ReconcilePollerFunction", "Timeout", 60)),
    (POLLER, "silence is no alarm", put("ReconcilePollerSilent", "TreatMissingData", "notBreaching")),
    ("nothing_has_a_physical_name", "a named table", put("Table", "TableName", "recharge")),
    ("nothing_has_a_physical_name", "a named schedule",
     put("ReconcilePollerFunctionEveryMinute", "Name", "every-minute")),
]
