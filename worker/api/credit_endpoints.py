"""The endpoints of credits and budgets; `worker.api.routes` has them in the table of all."""

from typing import Final

from config.values import Role
from worker.api.endpoints import BODY_PROBLEMS, Endpoint
from worker.api.handlers import budgets, ledger
from worker.api.models import query_parameters, requests
from worker.api.models.budgets import BudgetPageResponse, BudgetResponse
from worker.api.models.credits import CreditsResponse, ForecastPageResponse, ForecastResponse
from worker.app.action_table import ACTION_TABLE, BudgetAction, CreditAction

CREDIT_ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/v1/credits",
        ledger.get_credits,
        Role.READ,
        {200: CreditsResponse},
        query=query_parameters.CreditsQuery,
    ),
    Endpoint(
        "GET",
        "/v1/credits.csv",
        ledger.export_credits,
        Role.READ,
        {200: None},
        query=query_parameters.CreditsQuery,
        content_type="text/csv",
    ),
    Endpoint(
        "GET",
        "/v1/credits/forecast",
        ledger.forecast_credits,
        Role.READ,
        {200: ForecastPageResponse},
    ),
    Endpoint(
        "POST",
        "/v1/credits/balance",
        ledger.set_balance,
        ACTION_TABLE[CreditAction.SET_BALANCE].role,
        {200: ForecastResponse},
        requests.BalanceBody,
        is_body_required=True,
        problem_statuses=BODY_PROBLEMS,
    ),
    Endpoint("GET", "/v1/budgets", budgets.list_budgets, Role.READ, {200: BudgetPageResponse}),
    Endpoint(
        "GET",
        "/v1/budgets/{name}",
        budgets.get_budget,
        Role.READ,
        {200: BudgetResponse},
        problem_statuses=(404,),
    ),
    Endpoint(
        "PUT",
        "/v1/budgets/{name}",
        budgets.set_budget,
        ACTION_TABLE[BudgetAction.SET_BUDGET].role,
        {200: BudgetResponse},
        requests.BudgetBody,
        is_body_required=True,
        problem_statuses=(409, *BODY_PROBLEMS),
    ),
    Endpoint(
        "DELETE",
        "/v1/budgets/{name}",
        budgets.remove_budget,
        ACTION_TABLE[BudgetAction.REMOVE_BUDGET].role,
        {200: BudgetResponse},
        requests.ActionBody,
        problem_statuses=(404, 409, *BODY_PROBLEMS),
    ),
)
