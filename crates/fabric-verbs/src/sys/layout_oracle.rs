//! Compares `abi` with rdma-sys, whose declarations bindgen makes of the headers installed on this machine,
//! all but a few with unions in them, which its authors wrote by hand.
//!
//! Whole structs have to agree in size, alignment and each field's offset; prefixes in offsets only.

use std::mem::{align_of, offset_of, size_of};

use super::abi as ours;

/// What was compared, and what differed.
#[derive(Default)]
struct Comparison {
    count: usize,
    differences: Vec<String>,
}

impl Comparison {
    fn equal(&mut self, what: &str, ours: usize, theirs: usize) {
        self.count += 1;
        if ours != theirs {
            self.differences.push(format!("{what}: here {ours}, in the headers {theirs}"));
        }
    }
}

macro_rules! offsets {
    ($to:ident, $type:ident { $($field:ident),* $(,)? }) => {
        $($to.equal(
            concat!("offset of ", stringify!($type), ".", stringify!($field)),
            offset_of!(ours::$type, $field),
            offset_of!(rdma_sys::$type, $field),
        );)*
    };
}

macro_rules! whole {
    ($to:ident, $type:ident { $($field:ident),* $(,)? }) => {
        $to.equal(
            concat!("size of ", stringify!($type)),
            size_of::<ours::$type>(),
            size_of::<rdma_sys::$type>(),
        );
        $to.equal(
            concat!("alignment of ", stringify!($type)),
            align_of::<ours::$type>(),
            align_of::<rdma_sys::$type>(),
        );
        offsets!($to, $type { $($field),* });
    };
}

macro_rules! constants {
    ($to:ident, $($name:ident = $theirs:expr),* $(,)?) => {
        $($to.equal(stringify!($name), ours::$name as usize, $theirs as usize);)*
    };
}

#[test]
fn every_struct_has_the_layout_of_the_headers() {
    let mut seen = Comparison::default();

    whole!(seen, ibv_context_ops { poll_cq, req_notify_cq, post_send });
    offsets!(seen, ibv_context { device, ops, cmd_fd, async_fd, num_comp_vectors });
    offsets!(seen, ibv_cq { context, channel, cq_context, handle, cqe });
    offsets!(seen, ibv_qp { context, qp_context, pd, send_cq, recv_cq, srq, handle, qp_num, state, qp_type });
    whole!(seen, ibv_pd { context, handle });
    whole!(seen, ibv_mr { context, pd, addr, length, handle, lkey, rkey });
    whole!(seen, ibv_comp_channel { context, fd, refcnt });
    whole!(
        seen,
        ibv_device_attr {
            fw_ver,
            node_guid,
            sys_image_guid,
            max_mr_size,
            page_size_cap,
            vendor_id,
            vendor_part_id,
            hw_ver,
            max_qp,
            max_qp_wr,
            device_cap_flags,
            max_sge,
            max_sge_rd,
            max_cq,
            max_cqe,
            max_mr,
            max_pd,
            max_qp_rd_atom,
            max_ee_rd_atom,
            max_res_rd_atom,
            max_qp_init_rd_atom,
            max_ee_init_rd_atom,
            atomic_cap,
            max_ee,
            max_rdd,
            max_mw,
            max_raw_ipv6_qp,
            max_raw_ethy_qp,
            max_mcast_grp,
            max_mcast_qp_attach,
            max_total_mcast_qp_attach,
            max_ah,
            max_fmr,
            max_map_per_fmr,
            max_srq,
            max_srq_wr,
            max_srq_sge,
            max_pkeys,
            local_ca_ack_delay,
            phys_port_cnt,
        }
    );
    whole!(
        seen,
        ibv_port_attr {
            state,
            max_mtu,
            active_mtu,
            gid_tbl_len,
            port_cap_flags,
            max_msg_sz,
            bad_pkey_cntr,
            qkey_viol_cntr,
            pkey_tbl_len,
            lid,
            sm_lid,
            lmc,
            max_vl_num,
            sm_sl,
            subnet_timeout,
            init_type_reply,
            active_width,
            active_speed,
            phys_state,
            link_layer,
            flags,
            port_cap_flags2,
        }
    );
    whole!(seen, ibv_gid { raw });
    whole!(seen, ibv_global_route { dgid, flow_label, sgid_index, hop_limit, traffic_class });
    whole!(seen, ibv_ah_attr { grh, dlid, sl, src_path_bits, static_rate, is_global, port_num });
    whole!(seen, ibv_qp_cap { max_send_wr, max_recv_wr, max_send_sge, max_recv_sge, max_inline_data });
    whole!(seen, ibv_qp_init_attr { qp_context, send_cq, recv_cq, srq, cap, qp_type, sq_sig_all });
    whole!(
        seen,
        ibv_qp_attr {
            qp_state,
            cur_qp_state,
            path_mtu,
            path_mig_state,
            qkey,
            rq_psn,
            sq_psn,
            dest_qp_num,
            qp_access_flags,
            cap,
            ah_attr,
            alt_ah_attr,
            pkey_index,
            alt_pkey_index,
            en_sqd_async_notify,
            sq_draining,
            max_rd_atomic,
            max_dest_rd_atomic,
            min_rnr_timer,
            port_num,
            timeout,
            retry_cnt,
            rnr_retry,
            alt_port_num,
            alt_timeout,
            rate_limit,
        }
    );
    whole!(seen, ibv_sge { addr, length, lkey });
    whole!(seen, ibv_send_wr { wr_id, next, sg_list, num_sge, opcode, send_flags, wr, qp_type });
    whole!(
        seen,
        ibv_wc {
            wr_id,
            status,
            opcode,
            vendor_err,
            byte_len,
            qp_num,
            src_qp,
            wc_flags,
            pkey_index,
            slid,
            sl,
            dlid_path_bits,
        }
    );
    whole!(seen, ibv_async_event { element, event_type });

    compare_unions(&mut seen);
    compare_constants(&mut seen);

    println!("layout oracle: {} sizes, alignments and offsets compared", seen.count);
    assert!(seen.count > 190, "the macros compared only {}", seen.count);
    assert!(seen.differences.is_empty(), "{:#?}", seen.differences);
}

/// Unions, and what lies behind them: there the names differ.
fn compare_unions(seen: &mut Comparison) {
    seen.equal("size of wr", size_of::<ours::ibv_send_wr_wr>(), size_of::<rdma_sys::wr_t>());
    seen.equal("size of wr.rdma", size_of::<ours::ibv_send_wr_rdma>(), size_of::<rdma_sys::rdma_t>());
    seen.equal("size of wr.atomic", size_of::<ours::ibv_send_wr_atomic>(), size_of::<rdma_sys::atomic_t>());
    macro_rules! arm {
        ($ours:ident, $theirs:ident { $($field:ident),* }) => {
            $(seen.equal(
                concat!("offset of ", stringify!($theirs), ".", stringify!($field)),
                offset_of!(ours::$ours, $field),
                offset_of!(rdma_sys::$theirs, $field),
            );)*
        };
    }
    arm!(ibv_send_wr_rdma, rdma_t { remote_addr, rkey });
    arm!(ibv_send_wr_atomic, atomic_t { remote_addr, compare_add, swap, rkey });
    seen.equal(
        "offset of ibv_send_wr.imm_data",
        offset_of!(ours::ibv_send_wr, imm_data),
        offset_of!(rdma_sys::ibv_send_wr, imm_data_invalidated_rkey_union),
    );
    seen.equal(
        "offset of ibv_send_wr.bind_mw_or_tso",
        offset_of!(ours::ibv_send_wr, bind_mw_or_tso),
        offset_of!(rdma_sys::ibv_send_wr, bind_mw_tso_union),
    );
    seen.equal(
        "offset of ibv_wc.imm_data",
        offset_of!(ours::ibv_wc, imm_data),
        offset_of!(rdma_sys::ibv_wc, imm_data_invalidated_rkey_union),
    );
}

fn compare_constants(seen: &mut Comparison) {
    use rdma_sys::{ibv_access_flags as access, ibv_event_type as event, ibv_qp_attr_mask as mask};
    use rdma_sys::{ibv_qp_state, ibv_qp_type, ibv_send_flags as flags, ibv_wr_opcode as opcode};
    constants!(
        seen,
        IBV_QPT_RC = ibv_qp_type::IBV_QPT_RC,
        IBV_QPS_INIT = ibv_qp_state::IBV_QPS_INIT,
        IBV_QPS_RTR = ibv_qp_state::IBV_QPS_RTR,
        IBV_QPS_RTS = ibv_qp_state::IBV_QPS_RTS,
        IBV_QPS_ERR = ibv_qp_state::IBV_QPS_ERR,
        IBV_QP_STATE = mask::IBV_QP_STATE.0,
        IBV_QP_ACCESS_FLAGS = mask::IBV_QP_ACCESS_FLAGS.0,
        IBV_QP_PKEY_INDEX = mask::IBV_QP_PKEY_INDEX.0,
        IBV_QP_PORT = mask::IBV_QP_PORT.0,
        IBV_QP_AV = mask::IBV_QP_AV.0,
        IBV_QP_PATH_MTU = mask::IBV_QP_PATH_MTU.0,
        IBV_QP_TIMEOUT = mask::IBV_QP_TIMEOUT.0,
        IBV_QP_RETRY_CNT = mask::IBV_QP_RETRY_CNT.0,
        IBV_QP_RNR_RETRY = mask::IBV_QP_RNR_RETRY.0,
        IBV_QP_RQ_PSN = mask::IBV_QP_RQ_PSN.0,
        IBV_QP_MAX_QP_RD_ATOMIC = mask::IBV_QP_MAX_QP_RD_ATOMIC.0,
        IBV_QP_MIN_RNR_TIMER = mask::IBV_QP_MIN_RNR_TIMER.0,
        IBV_QP_SQ_PSN = mask::IBV_QP_SQ_PSN.0,
        IBV_QP_MAX_DEST_RD_ATOMIC = mask::IBV_QP_MAX_DEST_RD_ATOMIC.0,
        IBV_QP_CAP = mask::IBV_QP_CAP.0,
        IBV_QP_DEST_QPN = mask::IBV_QP_DEST_QPN.0,
        IBV_ACCESS_LOCAL_WRITE = access::IBV_ACCESS_LOCAL_WRITE.0,
        IBV_ACCESS_REMOTE_WRITE = access::IBV_ACCESS_REMOTE_WRITE.0,
        IBV_ACCESS_REMOTE_READ = access::IBV_ACCESS_REMOTE_READ.0,
        IBV_ACCESS_REMOTE_ATOMIC = access::IBV_ACCESS_REMOTE_ATOMIC.0,
        IBV_WR_RDMA_WRITE = opcode::IBV_WR_RDMA_WRITE,
        IBV_WR_RDMA_READ = opcode::IBV_WR_RDMA_READ,
        IBV_WR_ATOMIC_CMP_AND_SWP = opcode::IBV_WR_ATOMIC_CMP_AND_SWP,
        IBV_WR_ATOMIC_FETCH_AND_ADD = opcode::IBV_WR_ATOMIC_FETCH_AND_ADD,
        IBV_SEND_FENCE = flags::IBV_SEND_FENCE.0,
        IBV_SEND_SIGNALED = flags::IBV_SEND_SIGNALED.0,
        IBV_SEND_INLINE = flags::IBV_SEND_INLINE.0,
        IBV_EVENT_CQ_ERR = event::IBV_EVENT_CQ_ERR,
        IBV_EVENT_QP_FATAL = event::IBV_EVENT_QP_FATAL,
        IBV_EVENT_PATH_MIG_ERR = event::IBV_EVENT_PATH_MIG_ERR,
        IBV_EVENT_PORT_ACTIVE = event::IBV_EVENT_PORT_ACTIVE,
        IBV_EVENT_SM_CHANGE = event::IBV_EVENT_SM_CHANGE,
        IBV_EVENT_QP_LAST_WQE_REACHED = event::IBV_EVENT_QP_LAST_WQE_REACHED,
        IBV_EVENT_CLIENT_REREGISTER = event::IBV_EVENT_CLIENT_REREGISTER,
        IBV_EVENT_GID_CHANGE = event::IBV_EVENT_GID_CHANGE,
    );
}
